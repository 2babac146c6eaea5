// `native.docker.raw`: one engine's client. Its calls are in docker_*.cpp; each gives an operation, the face awaits it.
#include <algorithm>
#include <vector>

#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/docker_calls.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "report/reporter.hpp"

namespace deployrun::bindings {

namespace {

int ping(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::ping(docker_self(L))); });
}
int version(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::version(docker_self(L))); });
}
int info(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::info(docker_self(L))); });
}
int requests(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushnumber(L, static_cast<double>(docker_self(L)->requests()));
    return 1;
  });
}
int close_client(lua_State* L) { return lua::close_object<docker::Client>(L); }

constexpr luaL_Reg kEngineCalls[] = {
    {"ping", ping},         {"version", version},    {"info", info},
    {"requests", requests}, {"close", close_client}, {nullptr, nullptr},
};

/// An event for whoever asked for more.
void tell(report::Reporter& reporter, const std::string& host, const docker::Trip& trip) {
  report::Json event{{"type", "engine.call"},
                     {"host", host.empty() ? "local" : host},
                     {"method", trip.method},
                     {"path", trip.path},
                     {"ms", trip.time.count()}};
  if (trip.failure.empty()) {
    event["status"] = trip.status;
    event["sent"] = trip.sent;
    event["received"] = trip.received;
  } else {
    event["failure"] = trip.failure;
  }
  reporter.emit(std::move(event));
}

int client(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 1, "docker.client");
    docker::Endpoint endpoint;
    endpoint.unix_socket = options.string("socket").value_or(endpoint.unix_socket);
    if (const auto dialer = dialer_option(L, options, "dial")) {
      endpoint.dial = dialer->dial;
      endpoint.host = dialer->host;
    }
    endpoint.spares = static_cast<std::size_t>(std::clamp<std::int64_t>(options.integer("spares").value_or(0), 0, 8));
    if (auto host = options.string("host")) endpoint.host = std::move(*host);
    options.finish();
    endpoint.told = [&reporter = context(L).reporter, host = endpoint.host](const docker::Trip& trip) {
      tell(reporter, host, trip);
    };
    lua::push_object(L, std::make_shared<docker::Client>(context(L).http, std::move(endpoint)));
    return 1;
  });
}

constexpr luaL_Reg kEngineFunctions[] = {{"client", client}, {nullptr, nullptr}};

std::vector<luaL_Reg> joined(std::initializer_list<const luaL_Reg*> tables) {
  std::vector<luaL_Reg> all;
  for (const luaL_Reg* one : tables) {
    for (; one->name != nullptr; ++one) all.push_back(*one);
  }
  all.push_back({nullptr, nullptr});
  return all;
}

}  // namespace

/// For the type below.
const luaL_Reg* docker_methods() {
  static const auto kAll =
      joined({kEngineCalls, kImageCalls, kContainerCalls, kOutputCalls, kNetworkCalls, kArchiveCalls, kSystemCalls});
  return kAll.data();
}

int open_docker(lua_State* L) {
  return lua::export_table(L, joined({kEngineFunctions, kImageFunctions, kContainerFunctions}).data());
}

}  // namespace deployrun::bindings

namespace deployrun::lua {

// The tables it joins are constants: no order of initialisation matters.
const luaL_Reg* const ObjectType<docker::Client>::kMethods = bindings::docker_methods();

}  // namespace deployrun::lua
