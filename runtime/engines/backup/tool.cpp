#include "backup/tool.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/file_pieces.hpp"
#include "core/text.hpp"

extern char** environ;

namespace deployrun::backup {

namespace {

constexpr std::size_t kMostOutput = 1U << 20U;
constexpr std::size_t kErrorKept = 4096;
constexpr int kLook = 100;  // ms: how often `stop` is looked at

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  bool open() { return ::pipe2(ends.data(), O_CLOEXEC) == 0; }
  void shut(int which) {
    if (ends[static_cast<std::size_t>(which)] >= 0) ::close(ends[static_cast<std::size_t>(which)]);
    ends[static_cast<std::size_t>(which)] = -1;
  }
  ~Pipe() {
    shut(0);
    shut(1);
  }
};

core::Error failed(const std::string& program, int code) {
  return {.kind = "backup.engine", .message = program + ": " + std::strerror(code)};
}

/// What can be read now goes to `into`; false at the end.
bool take(int fd, std::string& into) {
  std::array<char, 16384> piece{};
  const ssize_t size = ::read(fd, piece.data(), piece.size());
  if (size < 0) return errno == EINTR || errno == EAGAIN;
  into.append(piece.data(), static_cast<std::size_t>(size));
  return size > 0;
}

class Child {
 public:
  ~Child() {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      (void)wait();
    }
  }
  int wait() {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  pid_t pid = 0;
};

}  // namespace

bool has_tool(const std::string& name) {
  const char* path = ::getenv("PATH");
  for (const std::string_view folder : core::split(path == nullptr ? "" : path, ':')) {
    if (!folder.empty() && ::access((std::string(folder) + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

core::Result<ToolEnd> run_tool(const std::vector<std::string>& argv, std::string_view input, const Stop& stop) {
  Pipe in, out, err;
  if (!in.open() || !out.open() || !err.open()) return failed(argv.front(), errno);
  ::fcntl(in.ends[1], F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.ends[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  Child child;
  const int code = ::posix_spawnp(&child.pid, words[0], &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) {
    child.pid = 0;
    if (code == ENOENT) return ToolEnd{.code = 127, .out = {}, .err = argv.front() + ": not found"};
    return failed(argv.front(), code);
  }
  in.shut(0);
  out.shut(1);
  err.shut(1);

  ToolEnd end;
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    if (stop) return core::cancelled(argv.front() + ": cancelled");
    if (input.empty()) in.shut(1);
    std::array<pollfd, 3> wanted{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}, {in.ends[1], POLLOUT, 0}}};
    if (::poll(wanted.data(), wanted.size(), kLook) <= 0) continue;
    if (wanted[0].revents != 0 && !take(out.ends[0], end.out)) out.shut(0);
    if (wanted[1].revents != 0 && !take(err.ends[0], end.err)) err.shut(0);
    if (end.err.size() > 2 * kErrorKept) end.err.erase(0, end.err.size() - kErrorKept);
    if (end.out.size() > kMostOutput) {
      return core::Error{.kind = "backup.engine", .message = argv.front() + ": it prints without end"};
    }
    if (wanted[2].revents == 0) continue;
    const ssize_t written = ::write(in.ends[1], input.data(), input.size());
    if (written > 0) input.remove_prefix(static_cast<std::size_t>(written));
    if (written < 0 && errno != EAGAIN && errno != EINTR) input = {};
  }
  end.code = child.wait();
  return end;
}

}  // namespace deployrun::backup
