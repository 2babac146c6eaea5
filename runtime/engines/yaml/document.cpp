#include "yaml/document.hpp"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "core/text.hpp"
#include "yaml/builder.hpp"

namespace deployrun::yaml {

namespace {

core::Error at(core::Error error, std::string_view source, std::size_t line, std::size_t column) {
  const std::string name = source.empty() ? "yaml" : std::string(source);
  error.message = name + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + error.message;
  error.details["line"] = static_cast<std::int64_t>(line);
  error.details["column"] = static_cast<std::int64_t>(column);
  error.details["where"] = name + ":" + std::to_string(line) + ":" + std::to_string(column);
  if (!source.empty()) error.details["source"] = name;
  return error;
}

core::Error at(core::Error error, std::string_view source, const YAML::Mark& mark) {
  if (mark.is_null()) return at(std::move(error), source, 1, 1);
  return at(std::move(error), source, static_cast<std::size_t>(mark.line) + 1,
            static_cast<std::size_t>(mark.column) + 1);
}

/// Bytes that yaml-cpp would misread: invalid UTF-8, and controls (it takes 0x04 for the end of the file).
/// And brackets beyond counting: the scanner keeps all tokens of a line before it hands out the first (1 MiB of `[`:
/// 240 MiB).
std::optional<core::Error> check_bytes(std::string_view text, std::string_view source, const Limits& limits) {
  std::size_t flow = 0;
  std::size_t line = 1;
  std::size_t column = 1;
  while (!text.empty()) {
    char32_t point = 0;
    const int length = core::utf8_sequence(text, point);
    if (length <= 0) return at({.kind = "yaml.parse", .message = "not UTF-8"}, source, line, column);
    const bool control = point < 0x20 && point != '\n' && point != '\r' && point != '\t';
    if (control || point == 0x7F) {
      return at({.kind = "yaml.parse", .message = "a control character"}, source, line, column);
    }
    if ((point == '[' || point == '{' || point == ',') && ++flow > limits.nodes) {
      return at({.kind = "yaml.limit", .message = "more than " + std::to_string(limits.nodes) + " brackets and commas"},
                source, line, column);
    }
    ++column;
    if (point == '\n') {
      ++line;
      column = 1;
    }
    text.remove_prefix(static_cast<std::size_t>(length));
  }
  return std::nullopt;
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  const auto found = std::find_if(members.begin(), members.end(), [key](const Member& one) { return one.key == key; });
  return found == members.end() ? nullptr : &found->value;
}

std::string Document::place(const Node& node) const {
  return source + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
}

core::Result<Document> parse(std::string_view text, std::string_view source, const Limits& limits, Merge merge) {
  if (text.size() > limits.bytes) {
    return at({.kind = "yaml.limit", .message = "larger than " + std::to_string(limits.bytes) + " bytes"}, source, 1,
              1);
  }
  if (auto bad = check_bytes(text, source, limits)) return std::move(*bad);
  std::istringstream stream{std::string(text)};
  Builder builder(limits, merge);
  try {
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      Builder second(limits, merge);
      if (parser.HandleNextDocument(second)) {
        const Node extra = second.take();
        return at({.kind = "yaml.parse", .message = "a second document; one is expected"}, source,
                  std::max<std::size_t>(extra.line, 1), std::max<std::size_t>(extra.column, 1));
      }
    }
  } catch (const Stopped& stopped) {
    return at(stopped.error, source, stopped.mark);
  } catch (const YAML::DeepRecursion& failure) {
    return at({.kind = "yaml.limit", .message = "nested too deep"}, source, failure.mark);
  } catch (const YAML::Exception& failure) {
    return at({.kind = "yaml.parse", .message = core::clean(failure.msg)}, source, failure.mark);
  }
  return Document{std::string(source.empty() ? "yaml" : source), builder.take()};
}

}  // namespace deployrun::yaml
