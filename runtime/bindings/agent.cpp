// `native.agent.raw`: lines to agents on other machines and in containers.
#include "agent/client.hpp"

#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/sqlite_values.hpp"
#include "bindings/value.hpp"
#include "core/process.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

int call(lua_State* L);
int first(lua_State* L);
int send(lua_State* L);
int wait(lua_State* L);
int ready(lua_State* L);
int rows(lua_State* L);
int hello(lua_State* L);
int alive(lua_State* L);
int close_agent(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<agent::Client> {
  static constexpr const char* kName = "agent.client";
  static constexpr luaL_Reg kMethods[] = {{"call", bindings::call},         {"first", bindings::first},
                                          {"send", bindings::send},         {"rows", bindings::rows},
                                          {"hello", bindings::hello},       {"alive", bindings::alive},
                                          {"close", bindings::close_agent}, {nullptr, nullptr}};
};

template <>
struct ObjectType<agent::Answer> {
  static constexpr const char* kName = "agent.answer";
  static constexpr luaL_Reg kMethods[] = {{"wait", bindings::wait}, {"ready", bindings::ready}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

using agent::Client;

/// call(method, params): what it gives, as JSON is in Lua.
int call(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Client>(L, 1);
    Json params = lua_isnoneornil(L, 3) ? Json::object() : to_json(L, 3, "params");
    return lua::push_operation(L, self->call(lua::check_string(L, 2), std::move(params)),
                               [](lua_State* state, const Json& value) { push_json(state, value); });
  });
}

/// first(): what the request that `connect` took along gives.
int first(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Client>(L, 1);
    return lua::push_operation(L, self->first(), [](lua_State* state, const Json& value) { push_json(state, value); });
  });
}

/// send(method, params): an answer that can be waited for, once the request is on its way.
int send(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Client>(L, 1);
    Json params = to_json(L, 3, "params");
    return lua::push_operation(
        L, self->send(lua::check_string(L, 2), std::move(params)),
        [](lua_State* state, const std::shared_ptr<agent::Answer>& answer) { lua::push_object(state, answer); });
  });
}

int wait(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, lua::check_object<agent::Answer>(L, 1)->wait(),
                               [](lua_State* state, const Json& value) { push_json(state, value); });
  });
}

int ready(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushboolean(L, lua::check_object<agent::Answer>(L, 1)->ready() ? 1 : 0);
    return 1;
  });
}

/// rows("query" or "run", connection, sql, values)
int rows(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Client>(L, 1);
    return lua::push_operation(
        L, self->rows(lua::check_string(L, 2), lua::check_integer(L, 3), lua::check_string(L, 4), check_values(L, 5)),
        push_rows);
  });
}

int hello(lua_State* L) {
  return lua::guard(L, [L] {
    push_json(L, lua::check_object<Client>(L, 1)->hello());
    return 1;
  });
}

int alive(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushboolean(L, lua::is_object<Client>(L, 1) && lua::check_object<Client>(L, 1)->alive() ? 1 : 0);
    return 1;
  });
}

/// At once, whoever else still has a hold on it.
int close_agent(lua_State* L) {
  return lua::guard(L, [L] {
    lua::check_object<Client>(L, 1)->close();
    return 0;
  });
}

/// connect(dial, { lease in ms }, method, params): the request after it, where there is one, goes with the hello.
int connect(lua_State* L) {
  return lua::guard(L, [L] {
    if (!lua::is_object<Dialer>(L, 1)) throw core::Failure(core::usage("agent.connect: argument 1 must be a dial"));
    const auto dialer = lua::check_object<Dialer>(L, 1);
    agent::ClientOptions how{.host = dialer->host};
    lua::Options options(L, 2, "agent.connect");
    how.lease = options.milliseconds("lease").value_or(how.lease);
    options.finish();
    if (!lua_isnoneornil(L, 3)) {
      how.first =
          agent::Request{lua::check_string(L, 3), lua_isnoneornil(L, 4) ? Json::object() : to_json(L, 4, "params")};
    }
    return lua::push_operation(
        L, Client::connect(context(L).loop, dialer->dial, how),
        [](lua_State* state, const std::shared_ptr<Client>& client) { lua::push_object(state, client); });
  });
}

/// dial_process(argv): a program of this machine.
int dial_process(lua_State* L) {
  return lua::guard(L, [L] {
    core::ProcessOptions options;
    options.argv = lua::check_strings(L, 1);
    if (options.argv.empty()) throw core::Failure(core::usage("agent.dial_process: an empty command"));
    const std::string name = options.argv.front();
    push_dialer(L, {[&loop = context(L).loop, options](auto done) -> std::shared_ptr<void> {
                      done(core::open_process_stream(loop, options));
                      return nullptr;
                    },
                    name, ""});
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"connect", connect}, {"dial_process", dial_process}, {nullptr, nullptr}};

}  // namespace

int open_agent(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
