// The demo's app, and the lab's: a small HTTP/1.1 server whose boot time, health and failures are set by its
// environment, so that every way a release can go wrong can be shown with one image.
//
// It leaves TLS, routing and logging formats to others. The invariant a change must keep: after SIGTERM no request
// that was begun is lost, and an idle process ends at once with exit code 0.
//
// Environment, all optional:
//   PORT             where to listen (80)
//   VERSION          what it says it is ("dev")
//   BOOT_DELAY_MS    wait before listening (0)
//   CRASH_AFTER_MS   end with EXIT_CODE (1) that long after the start, before listening if the boot is longer
//   HEALTH_STATUS    status of /up (200); 301 adds a Location
//   HEALTH_DELAY_MS  how long /up takes (0)
//
// Endpoints: /up  /  /version  /slow?ms=N  /upload (POST)  /env?name=N (only the names above)

#include "http.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace {

using demo::Connection;
using demo::Request;
using demo::Response;

constexpr int kMaxSlowMs = 120'000;
constexpr std::array<std::string_view, 7> kNames = {"PORT",      "VERSION",       "BOOT_DELAY_MS",  "CRASH_AFTER_MS",
                                                    "EXIT_CODE", "HEALTH_STATUS", "HEALTH_DELAY_MS"};

int to_int(std::string_view text, int fallback) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? value : fallback;
}

std::string env(const char* name, const std::string& fallback = {}) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::string(value) : fallback;
}

struct Settings {
  int port = to_int(env("PORT"), 80);
  std::string version = env("VERSION", "dev");
  int boot_delay_ms = to_int(env("BOOT_DELAY_MS"), 0);
  int crash_after_ms = to_int(env("CRASH_AFTER_MS"), -1);
  int exit_code = to_int(env("EXIT_CODE"), 1);
  int health_status = to_int(env("HEALTH_STATUS"), 200);
  int health_delay_ms = to_int(env("HEALTH_DELAY_MS"), 0);
};

/// One line on stdout with a time stamp in UTC; a line is written by one call, so lines of threads never mix.
void log_line(const std::string& text) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> stamp{};
  std::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  const std::string line = std::string(stamp.data()) + " " + text + "\n";
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) return;  // nobody reads the log: serving goes on
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(std::clamp(ms, 0, kMaxSlowMs))); }

/// The open connections and whether each is inside a request: what a graceful stop needs to know.
class Connections {
 public:
  void add(int fd) {
    const std::lock_guard lock(mutex_);
    busy_[fd] = false;
  }
  /// False when the server is stopping, so that the caller answers with `Connection: close`.
  bool begin(int fd) {
    const std::lock_guard lock(mutex_);
    busy_[fd] = true;
    return !stopping_;
  }
  /// False when the server is stopping: the connection must not wait for another request.
  bool end(int fd) {
    const std::lock_guard lock(mutex_);
    busy_[fd] = false;
    return !stopping_;
  }
  /// Closes under the lock: the number may be another connection's a moment later.
  void remove(int fd) {
    const std::lock_guard lock(mutex_);
    busy_.erase(fd);
    close(fd);
    none_left_.notify_all();
  }
  /// Ends the idle ones, waits for the rest; returns how many were inside a request.
  std::size_t drain() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    std::size_t in_flight = 0;
    for (const auto& [fd, busy] : busy_) {
      if (busy) {
        ++in_flight;
      } else {
        shutdown(fd, SHUT_RD);
      }
    }
    none_left_.wait(lock, [this] { return busy_.empty(); });
    return in_flight;
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_left_;
  std::map<int, bool> busy_;
  bool stopping_ = false;
};

std::string describe(const Settings& settings) {
  std::array<char, 65> host{};
  gethostname(host.data(), host.size() - 1);
  return settings.version + " " + std::to_string(getpid()) + " " + host.data() + "\n";
}

Response environment(const Request& request) {
  const std::string name = request.query("name");
  if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) return {404, "no such name\n", {}};
  return {200, env(name.c_str()) + "\n", {}};
}

Response answer(const Settings& settings, const Request& request) {
  if (request.path == "/up") {
    sleep_ms(settings.health_delay_ms);
    if (settings.health_status == 301) return {301, "moved\n", "/moved"};
    return {settings.health_status, settings.health_status == 200 ? "ok\n" : "unhealthy\n", {}};
  }
  if (request.path == "/") return {200, describe(settings), {}};
  if (request.path == "/version") return {200, settings.version + "\n", {}};
  if (request.path == "/slow") {
    sleep_ms(to_int(request.query("ms"), 1000));
    return {200, describe(settings), {}};
  }
  if (request.path == "/upload") {
    if (request.method != "POST" && request.method != "PUT") return {405, "POST a body\n", {}};
    return {200, std::to_string(request.body_bytes) + " " + std::to_string(request.body_sum) + "\n", {}};
  }
  if (request.path == "/env") return environment(request);
  return {404, "not found\n", {}};
}

void serve(const Settings& settings, Connections& connections, int fd) {
  Connection connection(fd);
  bool more = true;
  while (more && connection.wait_for_request()) {
    bool keep = connections.begin(fd);
    Request request;
    if (!connection.read_request(request)) {
      connection.write_response({400, "bad request\n", {}}, settings.version, false);
      break;
    }
    const Response response = answer(settings, request);
    keep = keep && request.keep_alive;
    const bool sent = connection.write_response(response, settings.version, keep);
    if (request.path != "/") {
      log_line(request.method + " " + request.path + " " + std::to_string(response.status));
    }
    more = connections.end(fd) && sent && keep;
  }
  connections.remove(fd);
}

int listen_on(int port) {
  // Dual stack, like most app servers: a probe of ::1 or 127.0.0.1 must find it.
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<std::uint16_t>(port));
  address.sin6_addr = in6addr_any;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 1024) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

void accept_all(const Settings& settings, Connections& connections, int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections.add(fd);
    std::thread([&settings, &connections, fd] { serve(settings, connections, fd); }).detach();
  }
}

/// Waits for a signal up to `ms` (-1: for ever), or for the listener (-1: none). True when a signal came.
bool wait_for_signal(int signals, int listener, int ms) {
  std::array<pollfd, 2> fds = {pollfd{signals, POLLIN, 0}, pollfd{listener, POLLIN, 0}};
  poll(fds.data(), fds.size(), ms);
  return (fds[0].revents & POLLIN) != 0;
}

}  // namespace

int main() {
  // Blocked before the first thread and read from a descriptor: also as process 1 of a container, where signals
  // without a handler are dropped.
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const int signals = signalfd(-1, &mask, SFD_CLOEXEC);

  const Settings settings;
  log_line("starting version " + settings.version + " on port " + std::to_string(settings.port));
  if (settings.crash_after_ms >= 0) {
    std::thread([&settings] {
      sleep_ms(settings.crash_after_ms);
      log_line("fatal: cannot reach the database, giving up");
      std::_Exit(settings.exit_code);
    }).detach();
  }
  if (settings.boot_delay_ms > 0 && wait_for_signal(signals, -1, settings.boot_delay_ms)) {
    log_line("stopped while booting");
    std::_Exit(0);
  }

  const int listener = listen_on(settings.port);
  if (listener < 0) {
    log_line("fatal: cannot listen on port " + std::to_string(settings.port));
    return 1;
  }
  log_line("listening");
  static Connections connections;  // outlives detached threads, which end with the process
  while (!wait_for_signal(signals, listener, -1)) accept_all(settings, connections, listener);

  accept_all(settings, connections, listener);  // what the kernel accepted already is a client's request
  close(listener);
  const std::size_t in_flight = connections.drain();
  log_line("stopped, " + std::to_string(in_flight) + " requests were in flight");
  std::_Exit(0);
}
