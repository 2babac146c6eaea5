#include "params.hpp"

#include <utility>

#include "core/text.hpp"

namespace deployrun::agent {

namespace {
constexpr std::int64_t kLongestPatience = 24 * 3600 * 1000;
}

Params::Params(std::string method, const Json& json) : method_(std::move(method)), json_(json) {
  if (!json_.is_object() && !json_.is_null()) refuse("params must be an object");
}

void Params::refuse(const std::string& why) const { throw core::Failure(core::usage(method_ + ": " + why)); }

const Json* Params::find(const char* name) {
  known_.insert(name);
  if (json_.is_null()) return nullptr;
  const auto found = json_.find(name);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

std::string Params::text(const char* name) {
  const Json* found = find(name);
  if (found == nullptr || !found->is_string()) refuse(std::string(name) + " must be a text");
  std::string value = found->get<std::string>();
  if (value.find('\0') != std::string::npos) refuse(std::string(name) + " holds a NUL");
  return value;
}

bool Params::flag(const char* name, bool fallback) {
  const Json* found = find(name);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) refuse(std::string(name) + " must be true or false");
  return found->get<bool>();
}

std::int64_t Params::integer(const char* name) {
  const Json* found = find(name);
  if (found == nullptr || !found->is_number_integer()) refuse(std::string(name) + " must be an integer");
  return found->get<std::int64_t>();
}

core::Milliseconds Params::patience() {
  const std::int64_t value = integer("patience_ms");
  if (value < 0 || value > kLongestPatience) refuse("patience_ms must be 0 to a day");
  return core::Milliseconds(value);
}

sqlite::Values Params::values() {
  const Json* found = find("values");
  if (found == nullptr) return {};
  auto values = values_of(*found);
  if (!values) refuse(values.error().message);
  return std::move(*values);
}

const Json& Params::array(const char* name) {
  const Json* found = find(name);
  if (found == nullptr || !found->is_array()) refuse(std::string(name) + " must be a list");
  return *found;
}

void Params::finish() const {
  if (json_.is_null()) return;
  for (const auto& [name, value] : json_.items()) {
    if (known_.count(name) == 0) refuse("no parameter is called " + core::clean(name.substr(0, 80)));
  }
}

}  // namespace deployrun::agent
