// What a binding hands to Lua: a table of functions.
#pragma once

#include <lua.hpp>

namespace deployrun::lua {

/// Leaves a table with `functions` (ended by {nullptr, nullptr}); for `return` from an open function.
inline int export_table(lua_State* L, const luaL_Reg* functions) {
  lua_newtable(L);
  for (; functions->name != nullptr; ++functions) {
    lua_pushcfunction(L, functions->func);
    lua_setfield(L, -2, functions->name);
  }
  return 1;
}

}  // namespace deployrun::lua
