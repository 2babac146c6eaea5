// Arguments in, values out. `check_*` throws core::Failure (`usage`), so it belongs inside lua::guard.
#pragma once

#include <cstdint>
#include <lua.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace deployrun::lua {

std::string check_string(lua_State* L, int index);
double check_number(lua_State* L, int index);
std::int64_t check_integer(lua_State* L, int index);
bool check_boolean(lua_State* L, int index);
/// An array of strings; holes and other types are refused by position.
std::vector<std::string> check_strings(lua_State* L, int index);
void check_table(lua_State* L, int index);
/// Nil or absent gives `fallback`; another type is refused.
std::string opt_string(lua_State* L, int index, std::string fallback);
std::int64_t opt_integer(lua_State* L, int index, std::int64_t fallback);
bool opt_boolean(lua_State* L, int index, bool fallback);

inline void push_string(lua_State* L, std::string_view text) { lua_pushlstring(L, text.data(), text.size()); }
void push_strings(lua_State* L, const std::vector<std::string>& list);
void push_string_map(lua_State* L, const std::map<std::string, std::string>& map);
/// Sets a field of the table on top.
void set_field(lua_State* L, const char* key, std::string_view value);
void set_field(lua_State* L, const char* key, double value);
void set_flag(lua_State* L, const char* key, bool value);

/// "argument 2: expected a string, got nil"
[[noreturn]] void wrong_argument(lua_State* L, int index, const char* expected);

}  // namespace deployrun::lua
