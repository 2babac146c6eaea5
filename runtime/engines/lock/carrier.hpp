// The process that carries a run's connection to a host: sshd's for it, which this user may end. With it end all
// channels of that connection, those to the engine's socket too.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "core/result.hpp"

namespace deployrun::lock {

/// Told from a later process of the same number by its start.
struct Carrier {
  pid_t pid = 0;
  std::uint64_t started = 0;  ///< clock ticks after boot: /proc/<pid>/stat, field 22 (proc(5)); 0: no such process
};

/// A process as it is now.
Carrier look_at_process(pid_t pid);
/// The nearest ancestor of a process that is sshd's and runs as this user; pid 0 where there is none.
Carrier find_carrier(pid_t process);
/// Kills it if it still is what it was, and waits for its end, 5 s at most. `lock.fence`.
core::Result<core::Unit> end_carrier(const Carrier& carrier);

}  // namespace deployrun::lock
