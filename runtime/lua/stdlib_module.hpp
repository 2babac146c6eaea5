// `native.stdlib.raw`: the stdlib's own files as texts, for its documentation.
#pragma once

#include <lua.hpp>

namespace deployrun::lua {

int open_stdlib(lua_State* L);

}  // namespace deployrun::lua
