#include "bindings/modules.hpp"

namespace deployrun::bindings {

// One per binding file.
// int open_x(lua_State* L);

std::vector<lua::NativeModule> modules() { return {}; }

}  // namespace deployrun::bindings
