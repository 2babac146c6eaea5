#include "bindings/dial.hpp"

#include "lua/guard.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace detail {
int dialer_to_text(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, lua::check_object<Dialer>(L, 1)->address);
    return 1;
  });
}
}  // namespace detail

void push_dialer(lua_State* L, Dialer dialer) { lua::push_object(L, std::make_shared<Dialer>(std::move(dialer))); }

std::shared_ptr<Dialer> dialer_option(lua_State* L, lua::Options& options, const char* key) {
  std::shared_ptr<Dialer> dialer;
  if (options.push(key)) {
    if (!lua::is_object<Dialer>(L, -1)) {
      throw core::Failure(core::usage(std::string("option `") + key + "` must be a dial, got " + luaL_typename(L, -1)));
    }
    dialer = lua::check_object<Dialer>(L, -1);
  }
  lua_pop(L, 1);
  return dialer;
}

}  // namespace deployrun::bindings
