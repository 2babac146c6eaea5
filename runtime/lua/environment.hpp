// The guarded environment of DESIGN §10: a recipe is code of its author, and still should not hurt by accident.
#pragma once

#include <lua.hpp>

#include "lua/runtime.hpp"

namespace deployrun::lua {

/// Opens the standard libraries without what escapes or blocks (unless `unsafe`), makes every loader take text only,
/// sets our own module search, and turns undeclared globals into errors. LUA_INIT, LUA_PATH and LUA_CPATH have no say.
void open_environment(lua_State* L, const RuntimeOptions& options);

/// Loads text as a chunk called `name`; leaves the function, or the message, as lua_load does.
int load_text(lua_State* L, std::string_view source, const char* name);

}  // namespace deployrun::lua
