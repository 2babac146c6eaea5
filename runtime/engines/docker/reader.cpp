#include "docker/reader.hpp"

#include <algorithm>
#include <cmath>

#include "core/duration.hpp"
#include "core/nearest.hpp"

namespace deployrun::docker {

namespace {

/// Lua knows no integers: 3.0 shall read as "3".
std::optional<std::string> scalar(const json::Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number == std::floor(number) && std::abs(number) < 9e15)
      return std::to_string(static_cast<std::int64_t>(number));
    return value.dump();
  }
  if (value.is_number()) return value.dump();
  return {};
}

bool is_empty_table(const json::Json& value) { return (value.is_object() || value.is_array()) && value.empty(); }

}  // namespace

Reader::Reader(const json::Json& table, std::string where) : table_(table), where_(std::move(where)) {
  if (!table_.is_object() && !table_.is_null() && !is_empty_table(table_))
    problem(where_ + " is not a table of options");
}

const json::Json* Reader::take(const char* key) {
  known_.emplace_back(key);
  if (!table_.is_object()) return nullptr;
  const auto found = table_.find(key);
  return found == table_.end() || found->is_null() ? nullptr : &*found;
}

void Reader::wrong(const std::string& key, const char* expected, const json::Json& value) {
  problem(key + ": expected " + expected + ", got " + value.type_name());
}

std::string Reader::string(const char* key) {
  const json::Json* value = take(key);
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  wrong(key, "a string", *value);
  return {};
}

std::vector<std::string> Reader::strings(const char* key) {
  const json::Json* value = take(key);
  std::vector<std::string> list;
  if (value == nullptr || is_empty_table(*value)) return list;
  if (!value->is_array()) {
    wrong(key, "a list of strings", *value);
    return list;
  }
  for (const json::Json& one : *value) {
    if (!one.is_string()) {
      wrong(std::string(key) + "[" + std::to_string(list.size() + 1) + "]", "a string", one);
      return {};
    }
    list.push_back(one.get<std::string>());
  }
  return list;
}

std::map<std::string, std::string> Reader::map(const char* key) {
  const json::Json* value = take(key);
  std::map<std::string, std::string> map;
  if (value == nullptr || is_empty_table(*value)) return map;
  if (!value->is_object()) {
    wrong(key, "a table of names and values", *value);
    return map;
  }
  for (const auto& [name, one] : value->items()) {
    if (auto text = scalar(one)) {
      map[name] = std::move(*text);
    } else {
      wrong(std::string(key) + "." + name, "a string, number or boolean", one);
    }
  }
  return map;
}

double Reader::number(const char* key, double least, double most) {
  const json::Json* value = take(key);
  if (value == nullptr) return 0;
  if (!value->is_number()) {
    wrong(key, "a number", *value);
    return 0;
  }
  const double number = value->get<double>();
  if (number >= least && number <= most) return number;
  problem(std::string(key) + ": " + value->dump() + " is out of range");
  return 0;
}

std::int64_t Reader::integer(const char* key, std::int64_t least, std::int64_t most) {
  const double value = number(key, static_cast<double>(least), static_cast<double>(most));
  if (value == std::floor(value)) return static_cast<std::int64_t>(value);
  problem(std::string(key) + ": expected a whole number");
  return 0;
}

std::optional<std::int64_t> Reader::count(const char* key, std::int64_t least, std::int64_t most) {
  if (!table_.is_object() || !table_.contains(key) || table_[key].is_null()) {
    known_.emplace_back(key);
    return {};
  }
  return integer(key, least, most);
}

std::string Reader::word(const char* key) {
  const json::Json* value = take(key);
  if (value == nullptr) return {};
  if (auto text = scalar(*value)) return *text;
  wrong(key, "a string or a number", *value);
  return {};
}

bool Reader::boolean(const char* key) {
  const json::Json* value = take(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  wrong(key, "true or false", *value);
  return false;
}

std::optional<core::Milliseconds> Reader::duration(const char* key) {
  const std::string text = string(key);
  if (text.empty()) return {};
  auto duration = core::parse_duration(text);
  if (duration) return *duration;
  problem(std::string(key) + ": " + duration.error().message);
  return {};
}

bool Reader::is_list(const char* key) const {
  if (!table_.is_object()) return false;
  const auto found = table_.find(key);
  return found != table_.end() && found->is_array();
}

std::optional<Reader> Reader::part(const char* key) {
  const json::Json* value = take(key);
  if (value == nullptr) return {};
  return Reader(*value, key);
}

std::vector<Reader> Reader::parts(const char* key) {
  const json::Json* value = take(key);
  std::vector<Reader> all;
  if (value == nullptr || is_empty_table(*value)) return all;
  if (!value->is_array()) {
    wrong(key, "a list of tables", *value);
    return all;
  }
  for (const json::Json& one : *value)
    all.emplace_back(one, std::string(key) + "[" + std::to_string(all.size() + 1) + "]");
  return all;
}

void Reader::refuse(const char* key, const std::string& why) {
  if (!table_.is_object() || !table_.contains(key)) return;
  refused_.emplace_back(key);
  problem(std::string(key) + ": " + why);
}

void Reader::close(Reader& part) {
  part.check_unknown();
  for (const std::string& text : part.problems_) {
    problem(text.rfind(part.where_, 0) == 0 ? text : part.where_ + "." + text);
  }
}

void Reader::check_unknown() {
  if (!table_.is_object()) return;
  for (const auto& [key, value] : table_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    if (std::find(refused_.begin(), refused_.end(), key) != refused_.end()) continue;
    const auto near = core::nearest(key, known_);
    problem(key + " is unknown" + (near ? ", did you mean `" + *near + "`?" : ""));
  }
}

std::optional<core::Error> Reader::finish() {
  check_unknown();
  if (problems_.empty()) return {};
  std::string all;
  for (const std::string& text : problems_) all += (all.empty() ? "" : "\n") + text;
  core::Error error = core::usage(where_ + ": " + problems_.front());
  if (problems_.size() > 1) error.message += " (and " + std::to_string(problems_.size() - 1) + " more)";
  error.details["problems"] = all;
  return error;
}

}  // namespace deployrun::docker
