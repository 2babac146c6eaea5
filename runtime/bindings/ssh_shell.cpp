// A shell on a host, in the terminal that this program was started on.
#include "bindings/context.hpp"
#include "bindings/ssh_session.hpp"
#include "lua/guard.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"
#include "ssh/quote.hpp"
#include "ssh/shell.hpp"

namespace deployrun::bindings {
namespace {

/// Leaves { code, signal }.
void push_exit(lua_State* L, const ssh::Exit& exit) {
  lua_createtable(L, 0, 2);
  lua::set_field(L, "code", static_cast<double>(exit.code));
  if (!exit.signal.empty()) lua::set_field(L, "signal", exit.signal);
}

}  // namespace

int shell(lua_State* L) {
  return lua::guard(L, [L] {
    const auto session = lua::check_object<ssh::Session>(L, 1);
    std::string line;
    if (!lua_isnoneornil(L, 2)) line = ssh::command_line(check_command(L, 2, "ssh.shell")).line;
    auto terminal = core::Terminal::open(context(L).loop);
    if (!terminal) throw core::Failure(terminal.error());
    std::unique_ptr<core::Operation<ssh::Exit>> operation =
        std::make_unique<ssh::Shell>(session, std::move(terminal).value(), std::move(line));
    return lua::push_operation(L, std::move(operation), push_exit);
  });
}

}  // namespace deployrun::bindings
