#include "bindings/modules.hpp"

namespace deployrun::bindings {

// One per binding file.
int open_text(lua_State* L);

std::vector<lua::NativeModule> modules() {
  return {
      {"native.text.raw", open_text},
  };
}

}  // namespace deployrun::bindings
