// What an engine tells of itself and of what it holds.
#include "bindings/docker_calls.hpp"
#include "core/queue.hpp"
#include "docker/system.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

// Defined below.
int next_event(lua_State* L);
int close_events(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<docker::Events> {
  static constexpr const char* kName = "docker.events";
  static constexpr luaL_Reg kMethods[] = {
      {"next", bindings::next_event}, {"close", bindings::close_events}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

using Filters = std::map<std::string, std::vector<std::string>>;

/// { label = { "a=b" }, … } under `key`.
Filters check_filters(lua_State* L, lua::Options& options, const char* key) {
  Filters filters;
  if (options.push(key)) {
    const Json table = to_json(L, lua_gettop(L), key);
    for (const auto& [name, values] : table.items()) {
      if (!values.is_array()) throw core::Failure(core::usage(std::string(key) + "." + name + ": expected a list"));
      for (const Json& one : values) {
        if (one.is_string()) filters[name].push_back(one.get<std::string>());
      }
    }
  }
  lua_pop(L, 1);
  return filters;
}

int stats(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::stats(docker_self(L), lua::check_string(L, 2))); });
}
int disk_usage(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::disk_usage(docker_self(L))); });
}
int prune(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.prune");
    const Filters only = check_filters(L, options, "filters");
    options.finish();
    return push_op(L, docker::prune(docker_self(L), lua::check_string(L, 2), only));
  });
}
int events(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.events");
    const Filters only = check_filters(L, options, "filters");
    const std::string since = options.string("since").value_or("");
    const std::string until = options.string("until").value_or("");
    options.finish();
    lua::push_object(L, std::make_shared<docker::Events>(docker_self(L), only, since, until));
    return 1;
  });
}
/// Leaves an operation for { type, action, id, name, attributes, time }, or nil at the end.
int next_event(lua_State* L) {
  return lua::guard(L, [L] {
    docker::Op<std::optional<docker::Event>> next =
        std::make_unique<core::Queue<docker::Event>::Next>(lua::check_object<docker::Events>(L, 1)->queue());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<docker::Event>& event) {
      if (!event) return lua_pushnil(state);
      lua_createtable(state, 0, 6);
      lua::set_field(state, "type", event->type);
      lua::set_field(state, "action", event->action);
      lua::set_field(state, "id", event->id);
      lua::set_field(state, "name", event->name);
      lua::set_field(state, "time", event->time);
      lua::push_string_map(state, event->attributes);
      lua_setfield(state, -2, "attributes");
    });
  });
}
int close_events(lua_State* L) {
  return lua::guard(L, [L] {
    lua::check_object<docker::Events>(L, 1)->close();
    return 0;
  });
}

}  // namespace

const luaL_Reg kSystemCalls[] = {
    {"stats", stats}, {"disk_usage", disk_usage}, {"prune", prune}, {"events", events}, {nullptr, nullptr},
};

}  // namespace deployrun::bindings
