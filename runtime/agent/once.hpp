// `deployrun-agent once`: a command that is to be done once, whoever of many comes first, as a container's entrypoint
// calls it. The others wait, then go on.
#pragma once

#include <string>
#include <vector>

#include "core/time.hpp"

namespace deployrun::agent {

struct OnceOptions {
  std::string database;
  std::string key;
  core::Milliseconds timeout{60'000};  ///< for the others to have done it
  std::vector<std::string> command;
};

constexpr int kOnceFailed = 70;  ///< the database or the lock could not be used
constexpr int kOnceBusy = 75;    ///< somebody else was not done in time

/// The exit code: 0 where it was done before, else the command's (128 + its signal's number where we are process 1,
/// which no signal ends; otherwise that signal ends us too).
///
/// The lock is on the file DATABASE.once-lock beside the database. The command's processes hold it too, so that a
/// killed agent (its command is killed with it) frees the others only when all it had started is gone. The key is
/// remembered after the command ended with 0: one that was killed in between runs again.
int run_once(const OnceOptions& options);

}  // namespace deployrun::agent
