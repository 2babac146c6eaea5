// The clock that judges leases: the lock host's own, counted from its boot, sleep included. Nobody can set it, and a
// claim of another boot has nobody behind it any more.
#pragma once

#include <cstdint>
#include <string>

namespace deployrun::lock {

class HostClock {
 public:
  HostClock();
  virtual ~HostClock() = default;
  /// Milliseconds since boot (CLOCK_BOOTTIME).
  virtual std::int64_t now_ms() const;
  /// This boot's id (/proc/sys/kernel/random/boot_id).
  virtual const std::string& boot() const { return boot_; }
  /// Unix time in milliseconds, for people alone.
  virtual std::int64_t unix_ms() const;

 private:
  std::string boot_;
};

}  // namespace deployrun::lock
