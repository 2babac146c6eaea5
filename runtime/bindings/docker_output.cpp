// What containers and commands inside them say: logs, following them, exec.
#include <algorithm>

#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/docker_calls.hpp"
#include "bindings/secret.hpp"
#include "core/process.hpp"
#include "core/queue.hpp"
#include "docker/attach.hpp"
#include "docker/containers.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

// Defined below.
int next_log(lua_State* L);
int close_follow(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<docker::Follow> {
  static constexpr const char* kName = "docker.follow";
  static constexpr luaL_Reg kMethods[] = {
      {"next", bindings::next_log}, {"close", bindings::close_follow}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

docker::LogOptions log_options(lua::Options& options) {
  docker::LogOptions wanted;
  if (options.boolean("all").value_or(false)) wanted.tail.reset();
  if (const auto tail = options.integer("tail"))
    wanted.tail = static_cast<int>(std::clamp<std::int64_t>(*tail, 0, 1'000'000));
  wanted.since = options.string("since").value_or("");
  wanted.timestamps = options.boolean("timestamps").value_or(false);
  return wanted;
}

int logs(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.logs");
    const auto wanted = log_options(options);
    options.finish();
    return lua::push_operation(L, docker::logs(docker_self(L), lua::check_string(L, 2), wanted),
                               [](lua_State* state, const docker::Logs& logs) {
                                 lua_createtable(state, 0, 4);
                                 lua::set_field(state, "text", logs.text);
                                 lua::set_field(state, "stdout", logs.out);
                                 lua::set_field(state, "stderr", logs.err);
                                 lua::set_flag(state, "truncated", logs.truncated);
                               });
  });
}
int follow(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.follow");
    const auto wanted = log_options(options);
    options.finish();
    lua::push_object(L, std::make_shared<docker::Follow>(docker_self(L), lua::check_string(L, 2), wanted));
    return 1;
  });
}
/// Leaves an operation for { output, text }, or nil at the end.
int next_log(lua_State* L) {
  return lua::guard(L, [L] {
    docker::Op<std::optional<docker::LogLine>> next =
        std::make_unique<core::Queue<docker::LogLine>::Next>(lua::check_object<docker::Follow>(L, 1)->lines());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<docker::LogLine>& line) {
      if (!line) return lua_pushnil(state);
      lua_createtable(state, 0, 2);
      lua::set_field(state, "output", line->source == docker::Source::out ? "stdout" : "stderr");
      lua::set_field(state, "text", line->text);
    });
  });
}
int close_follow(lua_State* L) {
  return lua::guard(L, [L] {
    lua::check_object<docker::Follow>(L, 1)->close();
    return 0;
  });
}

docker::ExecOptions exec_options(lua_State* L, const char* what) {
  lua::Options options(L, 4, what);
  docker::ExecOptions wanted;
  wanted.env = secret_map(L, options, "env").value_or(wanted.env);
  wanted.user = options.string("user").value_or("");
  wanted.workdir = options.string("workdir").value_or("");
  wanted.prepared = options.string("prepared").value_or("");
  wanted.ask_code = options.boolean("code").value_or(true);
  options.finish();
  return wanted;
}

int prepare_exec(lua_State* L) {
  return lua::guard(L, [L] {
    const auto wanted = exec_options(L, "docker.prepare_exec");
    auto operation = docker::prepare_exec(docker_self(L), lua::check_string(L, 2), lua::check_strings(L, 3), wanted);
    return lua::push_operation(L, std::move(operation),
                               [](lua_State* state, const std::string& id) { lua::push_string(state, id); });
  });
}

int exec(lua_State* L) {
  return lua::guard(L, [L] {
    const auto wanted = exec_options(L, "docker.exec");
    return lua::push_operation(L,
                               docker::exec(docker_self(L), lua::check_string(L, 2), lua::check_strings(L, 3), wanted),
                               [](lua_State* state, const docker::ExecResult& result) {
                                 lua_createtable(state, 0, 6);
                                 lua::set_field(state, "exec", result.id);
                                 lua::set_field(state, "stdout", result.out);
                                 lua::set_field(state, "stderr", result.err);
                                 if (result.code) lua::set_field(state, "code", static_cast<double>(*result.code));
                                 lua::set_field(state, "ms", result.ms);
                                 lua::set_flag(state, "truncated", result.truncated);
                               });
  });
}
int exec_code(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, docker::exec_code(docker_self(L), lua::check_string(L, 2)),
                               [](lua_State* state, int code) { lua_pushinteger(state, code); });
  });
}
int execs(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::list_execs(docker_self(L), lua::check_string(L, 2))); });
}

/// attach(name): a dial to the container's input and output.
int attach(lua_State* L) {
  return lua::guard(L, [L] {
    const auto client = docker_self(L);
    const docker::Endpoint& engine = client->endpoint();
    core::Dial dial = engine.dial;
    if (!dial) {
      core::ProcessOptions cli;
      cli.argv = {"docker", "--host", "unix://" + engine.unix_socket, "system", "dial-stdio"};
      dial = [&loop = context(L).loop, cli](auto done) -> std::shared_ptr<void> {
        done(core::open_process_stream(loop, cli));
        return nullptr;
      };
    }
    const std::string name = lua::check_string(L, 2);
    push_dialer(L, {docker::attach(std::move(dial), name, client->host()), "container " + name, client->host()});
    return 1;
  });
}

}  // namespace

const luaL_Reg kOutputCalls[] = {
    {"attach", attach},
    {"logs", logs},
    {"follow", follow},
    {"exec", exec},
    {"exec_code", exec_code},
    {"execs", execs},
    {"prepare_exec", prepare_exec},
    {nullptr, nullptr},
};

}  // namespace deployrun::bindings
