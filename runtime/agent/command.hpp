// A command in the foreground, as if it had been started instead of us: its input, output and signals are ours.
#pragma once

#include <string>
#include <vector>

namespace deployrun::agent {

struct CommandEnd {
  int code = 0;    ///< 127 where there is no such program, 126 where it cannot be started
  int signal = 0;  ///< that ended it
};

/// Runs `argv` (looked up in PATH) to its end. Signals that somebody sends us go to it; it is killed when we are.
/// `inherited` stays open in it and in all it starts. As process 1 we also reap what is orphaned.
CommandEnd run_command(const std::vector<std::string>& argv, int inherited);

/// Ends as the command did; returns the exit code where a signal cannot end us.
int pass_on(const CommandEnd& end);

}  // namespace deployrun::agent
