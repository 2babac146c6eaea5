// Containers: their description and their life.
#include "bindings/docker_calls.hpp"
#include "bindings/secret.hpp"
#include "docker/containers.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

docker::ContainerSpec check_spec(lua_State* L, int index, bool reveal) {
  Json table = to_json(L, index, "container");
  if (reveal) {
    lua::Options options(L, index, "docker.create");
    if (auto env = secret_map(L, options, "env")) table["env"] = std::move(*env);
  }
  auto spec = docker::parse_spec(table);
  if (!spec) throw core::Failure(spec.error());
  return std::move(*spec);
}

int create(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, docker::create_container(docker_self(L), check_spec(L, 2, true)),
                               [](lua_State* state, const docker::Created& created) {
                                 lua_createtable(state, 0, 2);
                                 lua::set_field(state, "id", created.id);
                                 lua::push_strings(state, created.warnings);
                                 lua_setfield(state, -2, "warnings");
                               });
  });
}
int start(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::start_container(docker_self(L), lua::check_string(L, 2))); });
}
int stop(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.stop");
    const auto grace = options.milliseconds("grace");
    options.finish();
    return push_op(L, docker::stop_container(docker_self(L), lua::check_string(L, 2), whole_seconds(grace)));
  });
}
int kill(lua_State* L) {
  return lua::guard(L, [L] {
    return push_op(L, docker::kill_container(docker_self(L), lua::check_string(L, 2), lua::opt_string(L, 3, "KILL")));
  });
}
int pause(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::pause_container(docker_self(L), lua::check_string(L, 2))); });
}
int unpause(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::unpause_container(docker_self(L), lua::check_string(L, 2))); });
}
int restart(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.restart");
    const auto grace = options.milliseconds("grace");
    options.finish();
    return push_op(L, docker::restart_container(docker_self(L), lua::check_string(L, 2), whole_seconds(grace)));
  });
}
int rename(lua_State* L) {
  return lua::guard(L, [L] {
    return push_op(L, docker::rename_container(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3)));
  });
}
int remove(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove");
    const bool force = options.boolean("force").value_or(false);
    const bool volumes = options.boolean("volumes").value_or(false);
    options.finish();
    return push_op(L, docker::remove_container(docker_self(L), lua::check_string(L, 2), force, volumes));
  });
}
int inspect(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_container(docker_self(L), lua::check_string(L, 2))); });
}
int list(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list");
    docker::ListOptions wanted;
    wanted.all = options.boolean("all").value_or(false);
    wanted.labels = options.strings("labels").value_or(wanted.labels);
    wanted.name = options.string("name").value_or("");
    wanted.states = options.strings("states").value_or(wanted.states);
    options.finish();
    return push_op(L, docker::list_containers(docker_self(L), wanted));
  });
}
int wait(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(
        L, docker::wait_container(docker_self(L), lua::check_string(L, 2), lua::opt_string(L, 3, "not-running")),
        [](lua_State* state, int code) { lua_pushnumber(state, code); });
  });
}

int check(lua_State* L) {
  return lua::guard(L, [L] {
    check_spec(L, 1, false);
    return 0;
  });
}

/// The equivalent `docker run`; secrets in the environment appear by name.
int run_argv(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_strings(L, docker::run_argv(check_spec(L, 1, false)));
    return 1;
  });
}

}  // namespace

const luaL_Reg kContainerCalls[] = {
    {"create", create}, {"start", start},     {"stop", stop},       {"kill", kill}, {"restart", restart},
    {"rename", rename}, {"remove", remove},   {"inspect", inspect}, {"list", list}, {"wait", wait},
    {"pause", pause},   {"unpause", unpause}, {nullptr, nullptr},
};

const luaL_Reg kContainerFunctions[] = {{"check", check}, {"run_argv", run_argv}, {nullptr, nullptr}};

}  // namespace deployrun::bindings
