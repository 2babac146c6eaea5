#include "agent/protocol.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "core/base64.hpp"
#include "core/text.hpp"

namespace deployrun::agent {

namespace {

constexpr std::size_t kMostNodes = 10'000'000;
constexpr int kMostCauses = 8;

const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::string text_at(const Json& object, const char* name) {
  const Json* found = member(object, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

core::Error error_of(const Json& json, int depth) {
  core::Error error{.kind = text_at(json, "kind"), .message = core::clean(text_at(json, "message"))};
  if (error.kind.empty()) return protocol_error("an error without a kind");
  error.hint = core::clean(text_at(json, "hint"));
  for (const auto& [name, value] : json.items()) {
    if (name == "kind" || name == "message" || name == "hint" || name == "cause" || name == "also") continue;
    if (value.is_boolean()) error.details[name] = value.get<bool>();
    if (value.is_number_integer()) error.details[name] = value.get<std::int64_t>();
    if (value.is_number_float()) error.details[name] = value.get<double>();
    if (value.is_string()) error.details[name] = value.get<std::string>();
  }
  const Json* cause = member(json, "cause");
  if (cause != nullptr && cause->is_object() && depth < kMostCauses) {
    error.cause = std::make_shared<core::Error>(error_of(*cause, depth + 1));
  }
  return error;
}

}  // namespace

core::Error protocol_error(std::string why) {
  return {.kind = "agent.protocol", .message = "deployrun-agent: " + std::move(why)};
}

core::Result<Json> parse_answer(std::string_view line) {
  return json::parse(line, {.bytes = kLongestAnswer, .depth = 32, .nodes = kMostNodes}, "deployrun-agent");
}

core::Result<Json> parse_request(std::string_view line) {
  return json::parse(line, {.bytes = kLongestRequest, .depth = 32, .nodes = kMostNodes}, "request");
}

Json to_json(const sqlite::Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  if (const auto* number = std::get_if<double>(&value)) {
    if (std::isfinite(*number)) return *number;
    return Json{{"real", *number < 0 ? "-inf" : "inf"}};  // SQLite has no NaN: it is NULL
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (core::is_utf8(*text)) return *text;
    return Json{{"base64", core::base64_encode(*text)}};
  }
  return nullptr;
}

Json to_json(const sqlite::Values& values) {
  if (const auto* list = std::get_if<0>(&values)) {
    Json out = Json::array();
    for (const auto& each : *list) out.push_back(to_json(each));
    return out;
  }
  Json out = Json::object();
  for (const auto& [name, each] : std::get<1>(values)) out[name] = to_json(each);
  return out;
}

Json to_json(const sqlite::Rows& rows) {
  Json lines = Json::array();
  for (const auto& row : rows.rows) {
    Json line = Json::array();
    for (const auto& each : row) line.push_back(to_json(each));
    lines.push_back(std::move(line));
  }
  return Json{{"columns", rows.columns}, {"rows", std::move(lines)}, {"changes", rows.changes}};
}

Json to_json(const std::vector<sqlite::Holder>& holders) {
  Json out = Json::array();
  for (const auto& each : holders) {
    out.push_back(
        Json{{"pid", each.pid}, {"command", each.command}, {"container", each.container}, {"writes", each.writes}});
  }
  return out;
}

core::Result<sqlite::Value> value_of(const Json& json) {
  if (json.is_null()) return sqlite::Value(nullptr);
  if (json.is_boolean()) return sqlite::Value(std::int64_t{json.get<bool>() ? 1 : 0});
  if (json.is_number_unsigned() &&
      json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return protocol_error("an integer beyond 64 bits");
  }
  if (json.is_number_integer()) return sqlite::Value(json.get<std::int64_t>());
  if (json.is_number()) return sqlite::Value(json.get<double>());
  if (json.is_string()) return sqlite::Value(json.get<std::string>());
  if (const std::string real = text_at(json, "real"); real == "inf" || real == "-inf") {
    const double infinite = std::numeric_limits<double>::infinity();
    return sqlite::Value(real == "inf" ? infinite : -infinite);
  }
  if (const Json* bytes = member(json, "base64"); bytes != nullptr && bytes->is_string()) {
    if (auto decoded = core::base64_decode(bytes->get<std::string>())) return sqlite::Value(std::move(*decoded));
  }
  return protocol_error("a value of a shape that nobody knows");
}

core::Result<sqlite::Values> values_of(const Json& json) {
  if (json.is_null()) return sqlite::Values();
  if (json.is_array()) {
    std::vector<sqlite::Value> list;
    for (const Json& each : json) {
      auto value = value_of(each);
      if (!value) return std::move(value).error();
      list.push_back(std::move(*value));
    }
    return sqlite::Values(std::move(list));
  }
  if (!json.is_object()) return protocol_error("values are an array or an object");
  std::vector<std::pair<std::string, sqlite::Value>> named;
  for (const auto& [name, each] : json.items()) {
    auto value = value_of(each);
    if (!value) return std::move(value).error();
    named.emplace_back(name, std::move(*value));
  }
  return sqlite::Values(std::move(named));
}

core::Result<sqlite::Rows> rows_of(const Json& json) {
  const Json* columns = member(json, "columns");
  const Json* rows = member(json, "rows");
  const Json* changes = member(json, "changes");
  if (columns == nullptr || !columns->is_array() || rows == nullptr || !rows->is_array() || changes == nullptr ||
      !changes->is_number_integer()) {
    return protocol_error("an answer that holds no rows");
  }
  sqlite::Rows out;
  out.changes = changes->get<std::int64_t>();
  for (const Json& name : *columns) {
    if (!name.is_string()) return protocol_error("a column without a name");
    out.columns.push_back(name.get<std::string>());
  }
  for (const Json& line : *rows) {
    if (!line.is_array() || line.size() != out.columns.size()) return protocol_error("a row of another width");
    std::vector<sqlite::Value> row;
    for (const Json& each : line) {
      auto value = value_of(each);
      if (!value) return std::move(value).error();
      row.push_back(std::move(*value));
    }
    out.rows.push_back(std::move(row));
  }
  return out;
}

core::Error error_of(const Json& json) { return error_of(json, 0); }

}  // namespace deployrun::agent
