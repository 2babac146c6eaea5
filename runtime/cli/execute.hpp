// Runs a Lua entry function in a fresh VM with the loop turning and signals watched, until it has an exit code.
#pragma once

#include <functional>
#include <string>

#include "cli/context.hpp"
#include "cli/options.hpp"
#include "lua/runtime.hpp"

namespace deployrun::cli {

/// `prepare` leaves the arguments on the stack and returns how many; an error there ends with exit code 2. `finish`
/// (may be empty) reads the function's value from the top of the stack; without it the value is the exit code. The
/// first SIGINT, SIGTERM or SIGHUP cancels the entry's task; the second ends the process at once.
int execute(World& world, const Options& options, const std::string& module, const std::string& function,
            const std::function<core::Result<int>(lua::Runtime&)>& prepare,
            const std::function<int(lua_State*)>& finish = {});

/// For the moments before and after `execute`, in which nothing is under way: a signal ends the process, before with
/// the signal's exit code, after with that of what was executed: it is done, and its journal says so.
void quit_on_signals() noexcept;

}  // namespace deployrun::cli
