// JSON from servers and files.
#include "json/json.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const auto value = json::parse(bytes, {}, "f.json");
  if (!value) {
    check(value.error().kind == "json.parse" && value.error().details.count("line") == 1);
    return;
  }
  const std::string text = json::dump(*value);
  const auto again = json::parse(text);
  check(again.ok() && json::dump(*again) == text);
  (void)json::dump(*value, true);
}

}  // namespace deployrun::fuzz
