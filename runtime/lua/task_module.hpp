// `native.task.raw`: tasks, timers and clocks for Lua. The one binding that lives here, because waiting itself does.
#pragma once

#include <lua.hpp>

namespace deployrun::lua {

int open_task(lua_State* L);

}  // namespace deployrun::lua
