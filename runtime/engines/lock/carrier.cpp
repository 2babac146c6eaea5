#include "lock/carrier.hpp"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "lock/folder.hpp"

extern "C" {  // glibc 2.36 forgot to say so
#include <sys/pidfd.h>
}

namespace deployrun::lock {

namespace {

constexpr int kEndTimeout = 5000;  // ms

struct Stat {
  std::string command;
  pid_t parent = 0;
  std::uint64_t started = 0;
};

/// The command stands in parentheses and may hold anything, parentheses too (proc(5)).
Stat read_stat(pid_t pid) {
  std::string text;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), text, '\0');
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == text.npos || close == text.npos || close < open) return {};
  Stat stat{.command = text.substr(open + 1, close - open - 1)};
  std::istringstream rest(text.substr(close + 1));
  std::string skipped;
  rest >> skipped >> stat.parent;
  for (int field = 5; field < 22; ++field) rest >> skipped;
  rest >> stat.started;
  return stat;
}

/// By the effective user of its status: the folder in /proc of a process that changed its user is root's (proc(5)).
bool is_mine(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("Uid:", 0) != 0) continue;
    std::istringstream ids(line.substr(4));
    uid_t real = 0;
    uid_t effective = 0;
    return ids >> real >> effective && effective == ::geteuid();
  }
  return false;
}

core::Error not_ended(pid_t pid, const std::string& why) {
  core::Error error{.kind = "lock.fence",
                    .message = "the connection of an earlier deploy (process " + std::to_string(pid) +
                               ") could not be ended: " + why};
  error.hint = "end it by hand, then deploy again: kill -9 " + std::to_string(pid);
  error.details["pid"] = static_cast<std::int64_t>(pid);
  return error;
}

}  // namespace

Carrier look_at_process(pid_t pid) { return {pid, read_stat(pid).started}; }

Carrier find_carrier(pid_t process) {
  for (pid_t pid = process; pid > 1;) {
    const Stat stat = read_stat(pid);
    // `sshd`, since OpenSSH 9.8 `sshd-session`; the one above it is root's and serves everybody.
    if (stat.command.rfind("sshd", 0) == 0) return is_mine(pid) ? Carrier{pid, stat.started} : Carrier{};
    pid = stat.parent;
  }
  return {};
}

core::Result<core::Unit> end_carrier(const Carrier& carrier) {
  const HeldFile process(::pidfd_open(carrier.pid, 0));
  if (process.fd() < 0) {
    if (errno == ESRCH) return core::Unit{};
    return not_ended(carrier.pid, std::strerror(errno));
  }
  // From here on the number cannot be another one's.
  if (look_at_process(carrier.pid).started != carrier.started) return core::Unit{};
  if (::pidfd_send_signal(process.fd(), SIGKILL, nullptr, 0) != 0) {
    if (errno == ESRCH) return core::Unit{};
    return not_ended(carrier.pid, std::strerror(errno));
  }
  pollfd wait{.fd = process.fd(), .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, kEndTimeout) > 0) return core::Unit{};
  return not_ended(carrier.pid, "it does not end");
}

}  // namespace deployrun::lock
