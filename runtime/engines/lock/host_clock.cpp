#include "lock/host_clock.hpp"

#include <ctime>
#include <fstream>

namespace deployrun::lock {

namespace {

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

HostClock::HostClock() { std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_; }

std::int64_t HostClock::now_ms() const { return read_clock(CLOCK_BOOTTIME); }

std::int64_t HostClock::unix_ms() const { return read_clock(CLOCK_REALTIME); }

}  // namespace deployrun::lock
