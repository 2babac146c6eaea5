// A way to open streams, as Lua hands it from one module to another: `ssh` makes dials, `http` and `docker` use them.
#pragma once

#include <lua.hpp>
#include <memory>
#include <string>

#include "core/stream.hpp"
#include "lua/object.hpp"
#include "lua/options.hpp"

namespace deployrun::bindings {

/// What `session:dial_unix(path)` and its like return. Keeps alive whatever it opens streams through.
struct Dialer {
  core::Dial dial;
  std::string address;  ///< where it leads, for messages: "/var/run/docker.sock on web-1"
  std::string host;     ///< the host it goes through
};

/// Leaves it.
void push_dialer(lua_State* L, Dialer dialer);
/// nullptr when the option is absent; throws `usage` for another type.
std::shared_ptr<Dialer> dialer_option(lua_State* L, lua::Options& options, const char* key);

namespace detail {
int dialer_to_text(lua_State* L);
}

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<bindings::Dialer> {
  static constexpr const char* kName = "dial";
  static constexpr luaL_Reg kMethods[] = {{"__tostring", bindings::detail::dialer_to_text}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua
