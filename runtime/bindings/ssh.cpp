// `native.ssh.raw`: sessions on other hosts, their commands, files and dials.
#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/output_lines.hpp"
#include "bindings/secret.hpp"
#include "bindings/ssh_session.hpp"
#include "bindings/ssh_transfer.hpp"
#include "bindings/told_lines.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "ssh/exec.hpp"

namespace deployrun::bindings {
namespace {
int exec(lua_State* L);
int upload(lua_State* L);
int upload_folder(lua_State* L);
int write(lua_State* L);
int download(lua_State* L);
int download_folder(lua_State* L);
int read(lua_State* L);
int sftp_stat(lua_State* L);
int sftp_remove(lua_State* L);
int without_shell(lua_State* L);
int dial_unix(lua_State* L);
int dial_tcp(lua_State* L);
int dial_exec(lua_State* L);
int prepare_commands(lua_State* L);
int host(lua_State* L);
int alive(lua_State* L);
int stats(lua_State* L);
int close(lua_State* L);
}  // namespace
}  // namespace deployrun::bindings

namespace deployrun::lua {

const luaL_Reg ObjectType<ssh::Session>::kMethods[] = {{"exec", bindings::exec},
                                                       {"upload", bindings::upload},
                                                       {"upload_folder", bindings::upload_folder},
                                                       {"download_folder", bindings::download_folder},
                                                       {"write", bindings::write},
                                                       {"download", bindings::download},
                                                       {"read", bindings::read},
                                                       {"sftp_stat", bindings::sftp_stat},
                                                       {"sftp_remove", bindings::sftp_remove},
                                                       {"without_shell", bindings::without_shell},
                                                       {"dial_unix", bindings::dial_unix},
                                                       {"dial_tcp", bindings::dial_tcp},
                                                       {"dial_exec", bindings::dial_exec},
                                                       {"forward_local", bindings::forward_local},
                                                       {"forward_remote", bindings::forward_remote},
                                                       {"shell", bindings::shell},
                                                       {"prepare_commands", bindings::prepare_commands},
                                                       {"host", bindings::host},
                                                       {"alive", bindings::alive},
                                                       {"stats", bindings::stats},
                                                       {"close", bindings::close},
                                                       {nullptr, nullptr}};

}  // namespace deployrun::lua

namespace deployrun::bindings {

ssh::Command check_command(lua_State* L, int index, const std::string& what) {
  ssh::Command command;
  const auto refuse = [&what](const core::Secret& secret) {
    core::Error error = core::usage(what + ": the command holds " + secret.to_string());
    error.hint = "a command's words can be seen by all on the host: pass it by `env` or `stdin`";
    throw core::Failure(std::move(error));
  };
  if (const auto secret = to_secret(L, index)) refuse(*secret);
  if (lua_type(L, index) == LUA_TSTRING) {
    command.shell = lua::check_string(L, index);
    return command;
  }
  lua::check_table(L, index);
  const int count = static_cast<int>(lua_objlen(L, index));
  for (int i = 1; i <= count; ++i) {
    lua_rawgeti(L, index, i);
    if (const auto secret = to_secret(L, -1)) refuse(*secret);
    lua_pop(L, 1);
  }
  command.argv = lua::check_strings(L, index);
  return command;
}

namespace {

std::shared_ptr<ssh::Session> check_session(lua_State* L) { return lua::check_object<ssh::Session>(L, 1); }

/// Names to strings or secrets; secrets go another way than the command's line.
void take_env(lua_State* L, lua::Options& options, ssh::Command& command, const std::string& what) {
  if (options.push("env")) {
    const int table = lua_gettop(L);
    if (!lua_istable(L, table)) throw core::Failure(core::usage(what + ": option `env` must be a table of strings"));
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
      if (lua_type(L, -2) != LUA_TSTRING)
        throw core::Failure(core::usage(what + ": option `env` must have names as keys"));
      const std::string name = lua_tostring(L, -2);
      if (const auto secret = to_secret(L, -1)) {
        command.secret_env.emplace(name, *secret);
      } else if (lua_isstring(L, -1) != 0) {
        lua_pushvalue(L, -1);
        std::size_t size = 0;
        const char* text = lua_tolstring(L, -1, &size);
        command.env[name].assign(text, size);
        lua_pop(L, 1);
      } else {
        throw core::Failure(core::usage(what + ": option `env`: " + name + " must be a string"));
      }
    }
  }
  lua_pop(L, 1);
}

/// Leaves { stdout, stderr, code, signal, ms }.
void push_result(lua_State* L, const ssh::ExecResult& result) {
  lua_createtable(L, 0, 5);
  lua::set_field(L, "stdout", result.out);
  lua::set_field(L, "stderr", result.err);
  lua::set_field(L, "code", static_cast<double>(result.code));
  if (!result.signal.empty()) lua::set_field(L, "signal", result.signal);
  lua::set_field(L, "ms", static_cast<double>(result.duration.count()));
}

/// A command whose lines come to an end with it, however it ends.
class LinedExec final : public core::Operation<ssh::ExecResult> {
 public:
  LinedExec(std::shared_ptr<ssh::Session> session, ssh::ExecOptions options, std::shared_ptr<OutputLines> lines)
      : lines_(std::move(lines)), exec_(std::move(session), std::move(options)) {}
  ~LinedExec() override { lines_->close(); }
  void start(Done done) override {
    exec_.start([lines = lines_, done = std::move(done)](core::Result<ssh::ExecResult> result) {
      lines->close();
      done(std::move(result));
    });
  }
  void cancel() noexcept override { exec_.cancel(); }

 private:
  std::shared_ptr<OutputLines> lines_;
  ssh::Exec exec_;
};

int exec(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    ssh::ExecOptions command;
    command.command = check_command(L, 2, "ssh.exec");
    lua::Options options(L, 3, "ssh.exec");
    command.input = secret_or_string(L, options, "stdin").value_or("");
    take_env(L, options, command.command, "ssh.exec");
    if (const auto limit = options.integer("output_limit")) {
      command.output_limit = static_cast<std::size_t>(std::max<std::int64_t>(*limit, 0));
    }
    command.keep_output = options.boolean("keep_output").value_or(true);
    std::shared_ptr<OutputLines> wanted;
    if (options.push("lines")) wanted = lua::check_object<OutputLines>(L, lua_gettop(L));
    lua_pop(L, 1);
    const auto told = options.string("tell");
    options.finish();
    if (told && !wanted) {
      command.on_output = [lines = std::make_shared<ToldLines>(context(L).reporter, *told)](
                              core::Output output, std::string_view bytes) { lines->feed(output, bytes); };
    }
    std::unique_ptr<core::Operation<ssh::ExecResult>> operation;
    if (wanted) {
      command.on_output = [wanted](core::Output output, std::string_view bytes) { wanted->feed(output, bytes); };
      operation = std::make_unique<LinedExec>(session, std::move(command), wanted);
    } else {
      operation = std::make_unique<ssh::Exec>(session, std::move(command));
    }
    return lua::push_operation(L, std::move(operation), push_result);
  });
}

int upload(lua_State* L) {
  return lua::guard(L, [L] { return push_upload(L, check_session(L)); });
}

int upload_folder(lua_State* L) {
  return lua::guard(L, [L] { return push_upload_folder(L, check_session(L)); });
}

int write(lua_State* L) {
  return lua::guard(L, [L] { return push_write(L, check_session(L)); });
}

int download_folder(lua_State* L) {
  return lua::guard(L, [L] { return push_download_folder(L, check_session(L)); });
}

int download(lua_State* L) {
  return lua::guard(L, [L] { return push_download(L, check_session(L)); });
}

int read(lua_State* L) {
  return lua::guard(L, [L] { return push_read(L, check_session(L)); });
}

int sftp_stat(lua_State* L) {
  return lua::guard(L, [L] { return push_sftp_stat(L, check_session(L)); });
}

int sftp_remove(lua_State* L) {
  return lua::guard(L, [L] { return push_sftp_remove(L, check_session(L)); });
}

int without_shell(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushboolean(L, check_session(L)->without_shell() ? 1 : 0);
    return 1;
  });
}

int dial_unix(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    const std::string path = lua::check_string(L, 2);
    push_dialer(L, {session->dial({ssh::Destination::Kind::streamlocal, path, 0}), path + " on " + session->host(),
                    session->host()});
    return 1;
  });
}

int dial_tcp(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    const std::string name = lua::check_string(L, 2);
    const std::int64_t port = lua::check_integer(L, 3);
    if (port < 1 || port > 65535) throw core::Failure(core::usage("dial_tcp: the port must be 1 to 65535"));
    push_dialer(L, {session->dial({ssh::Destination::Kind::tcp, name, static_cast<unsigned>(port)}),
                    name + ":" + std::to_string(port) + " from " + session->host(), session->host()});
    return 1;
  });
}

int dial_exec(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    ssh::Command command = check_command(L, 2, "ssh.dial_exec");
    ssh::command_line(command);  // a command that cannot be is refused here, not at the first dial
    const std::string name = command.argv.empty() ? "sh" : command.argv[0];
    const auto use = lua_toboolean(L, 3) != 0 ? ssh::Use::lasting : ssh::Use::usual;
    push_dialer(L, {session->dial_exec(std::move(command), use), name + " on " + session->host(), session->host()});
    return 1;
  });
}

int prepare_commands(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    const auto count = std::clamp<std::int64_t>(lua::check_integer(L, 2), 0, ssh::Session::kChannelLimit);
    session->prepare_commands(static_cast<std::size_t>(count));
    return 0;
  });
}

int host(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, check_session(L)->host());
    return 1;
  });
}

int alive(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushboolean(L, check_session(L)->alive() ? 1 : 0);
    return 1;
  });
}

/// Leaves { round_trips, bytes_in, bytes_out }.
int stats(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = check_session(L);
    const ssh::Transport& transport = session->transport();
    lua_createtable(L, 0, 3);
    lua::set_field(L, "round_trips", static_cast<double>(transport.round_trips()));
    lua::set_field(L, "bytes_in", static_cast<double>(transport.bytes_in()));
    lua::set_field(L, "bytes_out", static_cast<double>(transport.bytes_out()));
    return 1;
  });
}

int close(lua_State* L) {
  return lua::guard(L, [L] {
    check_session(L)->close();
    return 0;
  });
}

int lines(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_object(L, std::make_shared<OutputLines>());
    return 1;
  });
}

}  // namespace

int open_ssh(lua_State* L) {
  lua_newtable(L);
  lua::push_object(L, std::make_shared<ssh::Client>(context(L).loop));  // one for all sessions of the VM
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, connect, 1);
  lua_setfield(L, -3, "connect");
  lua_pushcclosure(L, scan, 1);
  lua_setfield(L, -2, "scan");
  lua_pushcfunction(L, pin);
  lua_setfield(L, -2, "pin");
  lua_pushcfunction(L, lines);
  lua_setfield(L, -2, "lines");
  lua_pushcfunction(L, transfer_progress);
  lua_setfield(L, -2, "progress");
  return 1;
}

}  // namespace deployrun::bindings
