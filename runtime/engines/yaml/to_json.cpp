// Text to types, by the core schema (YAML 1.2.2 §10.3.2).
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "yaml/document.hpp"

namespace deployrun::yaml {

namespace {

using json::Json;

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text == word) return true;
  }
  return false;
}

std::size_t digits(std::string_view text) {
  const std::size_t end = text.find_first_not_of("0123456789");
  return end == std::string_view::npos ? text.size() : end;
}

template <class Integer>
std::optional<Json> integer(std::string_view text, int base) {
  Integer value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return Json(value);
}

std::optional<Json> as_integer(std::string_view text) {
  if (text.starts_with("0o")) return integer<std::uint64_t>(text.substr(2), 8);
  if (text.starts_with("0x")) return integer<std::uint64_t>(text.substr(2), 16);
  std::string_view number = text;
  if (number.starts_with('+')) number.remove_prefix(1);
  const std::string_view bare = number.starts_with('-') && number.size() == text.size() ? number.substr(1) : number;
  if (bare.empty() || digits(bare) != bare.size()) return std::nullopt;
  if (auto value = integer<std::int64_t>(number, 10)) return value;
  return integer<std::uint64_t>(number, 10);
}

/// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
std::optional<Json> as_float(std::string_view text) {
  const bool minus = text.starts_with('-');
  std::string_view rest = text.substr(minus || text.starts_with('+') ? 1 : 0);
  if (one_of(rest, {".inf", ".Inf", ".INF"})) {
    return Json(minus ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity());
  }
  if (one_of(text, {".nan", ".NaN", ".NAN"})) return Json(std::numeric_limits<double>::quiet_NaN());
  const std::string_view number = rest;
  const std::size_t whole = digits(rest);
  rest.remove_prefix(whole);
  std::size_t fraction = 0;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    fraction = digits(rest);
    rest.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return std::nullopt;
  if (rest.starts_with('e') || rest.starts_with('E')) {
    rest.remove_prefix(1);
    if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
    const std::size_t exponent = digits(rest);
    if (exponent == 0) return std::nullopt;
    rest.remove_prefix(exponent);
  }
  if (!rest.empty()) return std::nullopt;
  double value = 0;
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (code == std::errc::result_out_of_range) return std::nullopt;  // text: nobody means infinity by 1e999
  return Json(minus ? -value : value);
}

Json scalar(const Node& node) {
  const std::string& text = node.scalar;
  if (node.tag == "str" || (!node.plain && node.tag.empty())) return text;
  const bool any = node.plain;
  if ((any || node.tag == "null") && one_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (any || node.tag == "bool") {
    if (one_of(text, {"true", "True", "TRUE"})) return true;
    if (one_of(text, {"false", "False", "FALSE"})) return false;
  }
  if (any || node.tag == "int") {
    if (auto value = as_integer(text)) return std::move(*value);
  }
  if (any || node.tag == "float") {
    if (auto value = as_float(text)) return std::move(*value);
  }
  return text;
}

}  // namespace

Json to_json(const Node& node) {
  switch (node.kind) {
    case Kind::null: return nullptr;
    case Kind::scalar: return scalar(node);
    case Kind::sequence: {
      Json list = Json::array();
      for (const Node& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case Kind::mapping: {
      Json object = Json::object();
      for (const Member& member : node.members) object.emplace(member.key, to_json(member.value));
      return object;
    }
  }
  return nullptr;
}

}  // namespace deployrun::yaml
