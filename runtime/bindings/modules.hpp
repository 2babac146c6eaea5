// Every native module, by the name Lua requires it with. A new binding adds its line to modules.cpp.
#pragma once

#include <vector>

#include "lua/runtime.hpp"

namespace deployrun::bindings {

std::vector<lua::NativeModule> modules();

}  // namespace deployrun::bindings
