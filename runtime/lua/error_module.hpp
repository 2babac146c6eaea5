// `native.fail.raw`: raises an error table of the stdlib's own with the metatable and the place that errors from C++
// have.
#pragma once

#include <lua.hpp>

namespace deployrun::lua {

int open_fail(lua_State* L);

}  // namespace deployrun::lua
