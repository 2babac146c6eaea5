#include "lua/stack.hpp"

#include <cmath>

namespace deployrun::lua {

void wrong_argument(lua_State* L, int index, const char* expected) {
  throw core::Failure(
      core::usage("argument " + std::to_string(index) + ": expected " + expected + ", got " + luaL_typename(L, index)));
}

std::string check_string(lua_State* L, int index) {
  // Numbers are not taken for strings: 8080 where "8080" is meant is a mistake worth hearing about.
  if (lua_type(L, index) != LUA_TSTRING) wrong_argument(L, index, "a string");
  std::size_t size = 0;
  const char* data = lua_tolstring(L, index, &size);
  return {data, size};
}

double check_number(lua_State* L, int index) {
  if (lua_type(L, index) != LUA_TNUMBER) wrong_argument(L, index, "a number");
  return lua_tonumber(L, index);
}

std::int64_t check_integer(lua_State* L, int index) {
  const double number = check_number(L, index);
  constexpr double kExact = 9007199254740992.0;  // 2^53: above it a double skips integers
  if (std::floor(number) != number || std::fabs(number) > kExact) wrong_argument(L, index, "a whole number");
  return static_cast<std::int64_t>(number);
}

bool check_boolean(lua_State* L, int index) {
  if (!lua_isboolean(L, index)) wrong_argument(L, index, "true or false");
  return lua_toboolean(L, index) != 0;
}

void check_table(lua_State* L, int index) {
  if (!lua_istable(L, index)) wrong_argument(L, index, "a table");
}

std::vector<std::string> check_strings(lua_State* L, int index) {
  check_table(L, index);
  std::vector<std::string> list;
  const int count = static_cast<int>(lua_objlen(L, index));
  for (int i = 1; i <= count; ++i) {
    lua_rawgeti(L, index, i);
    if (lua_type(L, -1) != LUA_TSTRING) {
      throw core::Failure(core::usage("item " + std::to_string(i) + " of argument " + std::to_string(index) +
                                      ": expected a string, got " + luaL_typename(L, -1)));
    }
    std::size_t size = 0;
    const char* data = lua_tolstring(L, -1, &size);
    list.emplace_back(data, size);
    lua_pop(L, 1);
  }
  return list;
}

std::string opt_string(lua_State* L, int index, std::string fallback) {
  return lua_isnoneornil(L, index) ? std::move(fallback) : check_string(L, index);
}

std::int64_t opt_integer(lua_State* L, int index, std::int64_t fallback) {
  return lua_isnoneornil(L, index) ? fallback : check_integer(L, index);
}

bool opt_boolean(lua_State* L, int index, bool fallback) {
  return lua_isnoneornil(L, index) ? fallback : check_boolean(L, index);
}

void push_strings(lua_State* L, const std::vector<std::string>& list) {
  lua_createtable(L, static_cast<int>(list.size()), 0);
  int position = 0;
  for (const std::string& text : list) {
    push_string(L, text);
    lua_rawseti(L, -2, ++position);
  }
}

void push_string_map(lua_State* L, const std::map<std::string, std::string>& map) {
  lua_createtable(L, 0, static_cast<int>(map.size()));
  for (const auto& [key, value] : map) {
    push_string(L, key);
    push_string(L, value);
    lua_rawset(L, -3);
  }
}

void set_field(lua_State* L, const char* key, std::string_view value) {
  push_string(L, value);
  lua_setfield(L, -2, key);
}

void set_field(lua_State* L, const char* key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

void set_flag(lua_State* L, const char* key, bool value) {
  lua_pushboolean(L, value ? 1 : 0);
  lua_setfield(L, -2, key);
}

}  // namespace deployrun::lua
