// YAML that people write: an error with its place, or a tree within the limits.
#include "fuzz.hpp"
#include "yaml/document.hpp"

namespace deployrun::fuzz {
namespace {

std::size_t count(const yaml::Node& node, std::size_t depth) {
  check(depth <= yaml::Limits{}.depth);
  std::size_t nodes = 1;
  for (const yaml::Node& item : node.items) nodes += count(item, depth + 1);
  for (const yaml::Member& member : node.members) nodes += count(member.value, depth + 1);
  return nodes;
}

}  // namespace

void try_input(std::string_view bytes) {
  const auto document = yaml::parse(bytes, "f.yml");
  if (!document) {
    check(document.error().kind.rfind("yaml.", 0) == 0 && document.error().details.count("line") == 1 &&
          document.error().details.count("column") == 1);
    return;
  }
  check(count(document->root, 0) <= yaml::Limits{}.nodes);
  (void)json::dump(yaml::to_json(document->root));
}

}  // namespace deployrun::fuzz
