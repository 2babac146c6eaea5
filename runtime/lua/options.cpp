#include "lua/options.hpp"

#include <algorithm>
#include <cmath>

#include "core/nearest.hpp"
#include "lua/stack.hpp"

namespace deployrun::lua {

Options::Options(lua_State* L, int index, std::string what) : L_(L), index_(0), what_(std::move(what)) {
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index)) {
    throw core::Failure(core::usage(what_ + ": options must be a table, got " + luaL_typename(L, index)));
  }
  index_ = index < 0 ? lua_gettop(L) + index + 1 : index;
}

bool Options::push(const char* key) {
  known_.emplace_back(key);
  if (index_ == 0) {
    lua_pushnil(L_);
    return false;
  }
  lua_getfield(L_, index_, key);
  return !lua_isnil(L_, -1);
}

bool Options::take(const char* key) {
  if (push(key)) return true;
  lua_pop(L_, 1);
  return false;
}

void Options::wrong(const char* key, const char* expected) {
  core::Error error =
      core::usage(what_ + ": option `" + key + "` must be " + expected + ", got " + luaL_typename(L_, -1));
  error.details["token"] = std::string(key);
  throw core::Failure(std::move(error));
}

std::optional<std::string> Options::string(const char* key) {
  if (!take(key)) return std::nullopt;
  if (lua_type(L_, -1) != LUA_TSTRING) wrong(key, "a string");
  std::string value = check_string(L_, lua_gettop(L_));
  lua_pop(L_, 1);
  return value;
}

std::optional<double> Options::number(const char* key) {
  if (!take(key)) return std::nullopt;
  if (lua_type(L_, -1) != LUA_TNUMBER) wrong(key, "a number");
  const double value = lua_tonumber(L_, -1);
  lua_pop(L_, 1);
  return value;
}

std::optional<std::int64_t> Options::integer(const char* key) {
  if (!take(key)) return std::nullopt;
  if (lua_type(L_, -1) != LUA_TNUMBER || std::floor(lua_tonumber(L_, -1)) != lua_tonumber(L_, -1)) {
    wrong(key, "a whole number");
  }
  const auto value = static_cast<std::int64_t>(lua_tonumber(L_, -1));
  lua_pop(L_, 1);
  return value;
}

std::optional<bool> Options::boolean(const char* key) {
  if (!take(key)) return std::nullopt;
  if (!lua_isboolean(L_, -1)) wrong(key, "true or false");
  const bool value = lua_toboolean(L_, -1) != 0;
  lua_pop(L_, 1);
  return value;
}

std::optional<core::Milliseconds> Options::milliseconds(const char* key) {
  const auto value = number(key);
  if (!value) return std::nullopt;
  if (!(*value >= 0) || *value > 1e12) {
    throw core::Failure(core::usage(what_ + ": option `" + key + "` must be a duration of 0 or more"));
  }
  return core::Milliseconds(static_cast<core::Milliseconds::rep>(*value));
}

std::optional<std::vector<std::string>> Options::strings(const char* key) {
  if (!take(key)) return std::nullopt;
  if (!lua_istable(L_, -1)) wrong(key, "a list of strings");
  auto value = check_strings(L_, lua_gettop(L_));
  lua_pop(L_, 1);
  return value;
}

std::optional<std::map<std::string, std::string>> Options::string_map(const char* key) {
  if (!take(key)) return std::nullopt;
  if (!lua_istable(L_, -1)) wrong(key, "a table of strings");
  std::map<std::string, std::string> map;
  const int table = lua_gettop(L_);
  for (lua_pushnil(L_); lua_next(L_, table) != 0; lua_pop(L_, 1)) {
    if (lua_type(L_, -2) != LUA_TSTRING || lua_isstring(L_, -1) == 0) {
      throw core::Failure(core::usage(what_ + ": option `" + key + "` must map names to strings"));
    }
    lua_pushvalue(L_, -1);  // a copy: tolstring would change a number in place
    std::size_t size = 0;
    const char* data = lua_tolstring(L_, -1, &size);
    map[lua_tostring(L_, -3)] = std::string(data, size);
    lua_pop(L_, 1);
  }
  lua_pop(L_, 1);
  return map;
}

std::string Options::require_string(const char* key) {
  auto value = string(key);
  if (!value) throw core::Failure(core::usage(what_ + ": option `" + std::string(key) + "` is required"));
  return *value;
}

void Options::finish() {
  if (index_ == 0) return;
  for (lua_pushnil(L_); lua_next(L_, index_) != 0; lua_pop(L_, 1)) {
    if (lua_type(L_, -2) != LUA_TSTRING) {
      throw core::Failure(core::usage(what_ + ": options are named; position " + std::to_string(lua_tointeger(L_, -2)) +
                                      " has no name"));
    }
    const std::string key = lua_tostring(L_, -2);
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    core::Error error = core::usage(what_ + ": option `" + key + "` is unknown");
    error.details["token"] = key;
    const auto nearest = core::nearest(key, known_);
    if (nearest) error.hint = "did you mean `" + *nearest + "`?";
    throw core::Failure(std::move(error));
  }
}

}  // namespace deployrun::lua
