// Forwards of a session: what they listen on, what became of them.
#include "bindings/ssh_session.hpp"
#include "lua/guard.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"
#include "ssh/forward.hpp"

namespace deployrun::bindings {
namespace {
int address(lua_State* L);
int stats(lua_State* L);
int close(lua_State* L);
}  // namespace
}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<ssh::Forward> {
  static constexpr const char* kName = "ssh.forward";
  static constexpr luaL_Reg kMethods[] = {
      {"address", bindings::address}, {"stats", bindings::stats}, {"close", bindings::close}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {
namespace {

ssh::Endpoint check_endpoint(lua_State* L, int index, bool any_port) {
  auto endpoint = ssh::parse_endpoint(lua::check_string(L, index), any_port);
  if (!endpoint) throw core::Failure(endpoint.error());
  return std::move(endpoint).value();
}

int address(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, lua::check_object<ssh::Forward>(L, 1)->listens().text());
    return 1;
  });
}

/// Leaves { connections, open, failed, last_error = message }.
int stats(lua_State* L) {
  return lua::guard(L, [L] {
    const ssh::ForwardStats now = lua::check_object<ssh::Forward>(L, 1)->stats();
    lua_createtable(L, 0, 4);
    lua::set_field(L, "connections", static_cast<double>(now.connections));
    lua::set_field(L, "open", static_cast<double>(now.open));
    lua::set_field(L, "failed", static_cast<double>(now.failed));
    if (now.last_error) lua::set_field(L, "last_error", now.last_error->message);
    return 1;
  });
}

int close(lua_State* L) {
  return lua::guard(L, [L] {
    lua::check_object<ssh::Forward>(L, 1)->close();
    return 0;
  });
}

void push_forward(lua_State* L, const std::shared_ptr<ssh::Forward>& forward) { lua::push_object(L, forward); }

}  // namespace

int forward_local(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = lua::check_object<ssh::Session>(L, 1);
    const ssh::Endpoint to = check_endpoint(L, 3, false);
    const ssh::Destination destination = to.path.empty()
                                             ? ssh::Destination{ssh::Destination::Kind::tcp, to.host, to.port}
                                             : ssh::Destination{ssh::Destination::Kind::streamlocal, to.path, 0};
    auto forward = ssh::forward_local(session, check_endpoint(L, 2, true), destination);
    if (!forward) throw core::Failure(forward.error());
    push_forward(L, *forward);
    return 1;
  });
}

int forward_remote(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = lua::check_object<ssh::Session>(L, 1);
    std::unique_ptr<core::Operation<std::shared_ptr<ssh::Forward>>> operation =
        std::make_unique<ssh::ForwardRemote>(session, check_endpoint(L, 2, true), check_endpoint(L, 3, false));
    return lua::push_operation(L, std::move(operation), push_forward);
  });
}

}  // namespace deployrun::bindings
