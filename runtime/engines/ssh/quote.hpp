// From a command as data to the one line that sshd hands to the user's login shell. Words are quoted by
// core::shell_quote and nowhere else; secrets never appear in the line (every user of the host can read a process's
// arguments).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/secret.hpp"

namespace deployrun::ssh {

/// What to run: `argv`, whose words no shell ever splits, or (the named exception) `shell`, run by `sh -c`.
struct Command {
  std::vector<std::string> argv;
  std::string shell;
  std::map<std::string, std::string> env;
  std::map<std::string, core::Secret> secret_env;
};

struct CommandLine {
  std::string line;
  /// Comes first on stdin, before the command's own input: assignments the command's environment is made of. Wipe it.
  std::string preamble;
};

/// Throws Failure (`usage`) for no command or two, NUL bytes, a program name that begins with '-', names that are no
/// variable's. `nonce` (may be empty): the line reports its process group on stderr as "NONCE PID\n" before it begins.
CommandLine command_line(const Command& command, const std::string& nonce = {});

/// A line that ends a process group: TERM, then KILL after two seconds.
std::string kill_line(long group);

}  // namespace deployrun::ssh
