// Networks and volumes.
#include "bindings/docker_calls.hpp"
#include "docker/networks.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

int create_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.create_network");
    docker::NetworkOptions wanted;
    wanted.driver = options.string("driver").value_or(wanted.driver);
    wanted.internal = options.boolean("internal").value_or(false);
    wanted.labels = options.string_map("labels").value_or(wanted.labels);
    options.finish();
    return push_op(L, docker::create_network(docker_self(L), lua::check_string(L, 2), wanted));
  });
}
int inspect_network(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_network(docker_self(L), lua::check_string(L, 2))); });
}
int list_networks(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_networks");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    const std::string name = options.string("name").value_or("");
    options.finish();
    return push_op(L, docker::list_networks(docker_self(L), labels, name));
  });
}
int remove_network(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::remove_network(docker_self(L), lua::check_string(L, 2))); });
}
int connect_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 4, "docker.connect_network");
    const auto aliases = options.strings("aliases").value_or(std::vector<std::string>());
    options.finish();
    return push_op(L,
                   docker::connect_network(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3), aliases));
  });
}
int disconnect_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 4, "docker.disconnect_network");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L,
                   docker::disconnect_network(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3), force));
  });
}
int create_volume(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.create_volume");
    docker::VolumeOptions wanted;
    wanted.driver = options.string("driver").value_or(wanted.driver);
    wanted.labels = options.string_map("labels").value_or(wanted.labels);
    options.finish();
    return push_op(L, docker::create_volume(docker_self(L), lua::check_string(L, 2), wanted));
  });
}
int inspect_volume(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_volume(docker_self(L), lua::check_string(L, 2))); });
}
int list_volumes(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_volumes");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    options.finish();
    return push_op(L, docker::list_volumes(docker_self(L), labels));
  });
}
int remove_volume(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove_volume");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L, docker::remove_volume(docker_self(L), lua::check_string(L, 2), force));
  });
}

}  // namespace

const luaL_Reg kNetworkCalls[] = {
    {"create_network", create_network},
    {"inspect_network", inspect_network},
    {"list_networks", list_networks},
    {"remove_network", remove_network},
    {"connect_network", connect_network},
    {"disconnect_network", disconnect_network},
    {"create_volume", create_volume},
    {"inspect_volume", inspect_volume},
    {"list_volumes", list_volumes},
    {"remove_volume", remove_volume},
    {nullptr, nullptr},
};

}  // namespace deployrun::bindings
