#include "core/local_shell.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace deployrun::core {

namespace {

constexpr std::size_t kTypedAhead = 64U << 10U;   // more keys than this wait in our own terminal
constexpr std::size_t kDrawnAhead = 256U << 10U;  // more output than this waits in the other one
constexpr Milliseconds kGrace{2000};

void resize(int terminal, Console::Size size) {
  winsize now{};
  now.ws_col = static_cast<unsigned short>(size.columns);
  now.ws_row = static_cast<unsigned short>(size.rows);
  ::ioctl(terminal, TIOCSWINSZ, &now);
}

/// In the child, where only what is safe in a signal handler may be called. Tells `report` why it could not.
[[noreturn]] void become(int terminal, char* const* argv, int report) {
  ::setsid();
  ::ioctl(terminal, TIOCSCTTY, 0);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvp(argv[0], argv);
  const int why = errno;
  [[maybe_unused]] const ssize_t told = ::write(report, &why, sizeof why);
  ::_exit(127);
}

}  // namespace

LocalShell::LocalShell(Loop& loop, std::unique_ptr<Console> console, std::vector<std::string> argv)
    : loop_(loop), console_(std::move(console)), argv_(std::move(argv)), grace_(loop) {}

LocalShell::~LocalShell() {
  if (pid_ != 0) {
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (uv_poll_t* poll : {terminal_, exit_}) {
    if (poll != nullptr) close_handle(poll);
  }
  for (const int fd : {master_, pidfd_}) {
    if (fd >= 0) ::close(fd);
  }
}

void LocalShell::start(Done done) {
  done_ = std::move(done);
  if (const int why = open(); why != 0) {
    Error error{.kind = "process.spawn", .message = "run " + argv_[0] + ": " + std::strerror(why)};
    error.details = {{"program", argv_[0]}, {"errno", std::int64_t{why}}};
    return finish(std::move(error));
  }
  begin();
}

/// The terminal and the program on it. Gives an errno, or 0.
int LocalShell::open() {
  master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) return errno;
  const int slave = ::ioctl(master_, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return errno;
  resize(slave, console_->size());
  const int why = spawn(slave);
  ::close(slave);
  return why;
}

int LocalShell::spawn(int slave) {
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) return errno;
  std::vector<char*> argv;
  argv.reserve(argv_.size() + 1);
  for (std::string& word : argv_) argv.push_back(word.data());
  argv.push_back(nullptr);
  // No handler of ours may run in the child before it has taken the default ones.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t child = ::fork();
  int why = child < 0 ? errno : 0;
  if (child == 0) become(slave, argv.data(), report[1]);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(report[1]);
  if (child > 0) {
    pid_ = child;
    if (::read(report[0], &why, sizeof why) == sizeof why) {  // closed by exec: it has begun
      ::waitpid(std::exchange(pid_, 0), nullptr, 0);
    } else if (pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, child, 0)); pidfd_ < 0) {
      why = errno;
    }
  }
  ::close(report[0]);
  return why;
}

void LocalShell::begin() {
  terminal_ = new uv_poll_t;
  uv_poll_init(loop_.raw(), terminal_, master_);
  terminal_->data = this;
  exit_ = new uv_poll_t;
  uv_poll_init(loop_.raw(), exit_, pidfd_);
  exit_->data = this;
  uv_poll_start(exit_, UV_READABLE,
                [](uv_poll_t* handle, int, int) { static_cast<LocalShell*>(handle->data)->ended(); });
  Console::Events events;
  events.keys = [this](std::string_view keys) {
    if (keys.empty()) return cancel();  // whoever typed is gone, and the terminal with them
    typed_ += keys;
    console_->hold(typed_.size() >= kTypedAhead);
    watch();
  };
  events.resized = [this] { resize(master_, console_->size()); };
  console_->start_raw(std::move(events));
  resize(master_, console_->size());
  watch();
}

void LocalShell::watch() {
  if (terminal_ == nullptr || drawn_) return;
  const int wanted = (drawing_ < kDrawnAhead ? UV_READABLE : 0) | (typed_.empty() ? 0 : UV_WRITABLE);
  if (wanted == 0) {
    uv_poll_stop(terminal_);
    return;
  }
  uv_poll_start(terminal_, wanted, [](uv_poll_t* handle, int status, int events) {
    static_cast<LocalShell*>(handle->data)->moved(status < 0 ? UV_READABLE : events);
  });
}

void LocalShell::moved(int events) {
  if ((events & UV_WRITABLE) != 0) write();
  if ((events & UV_READABLE) != 0) read();
  watch();
}

void LocalShell::write() {
  const ssize_t count = ::write(master_, typed_.data(), typed_.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) {
    typed_.clear();  // nobody reads it any more; the exit code will tell
  } else {
    typed_.erase(0, static_cast<std::size_t>(count));
  }
  console_->hold(typed_.size() >= kTypedAhead);
}

/// What it has drawn so far. Its end is an error (EIO): no program has the terminal open.
void LocalShell::read() {
  while (drawing_ < kDrawnAhead) {
    const ssize_t count = ::read(master_, buffer_.data(), buffer_.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      drawn_ = true;
      uv_poll_stop(terminal_);
      return;
    }
    const auto size = static_cast<std::size_t>(count);
    drawing_ += size;
    console_->write(std::string(buffer_.data(), size), [this, size, living = std::weak_ptr<bool>(alive_)] {
      if (living.expired()) return;
      drawing_ -= size;
      if (reaped_) return ended();
      watch();
    });
  }
}

/// Reaped, and everything that it drew is out; what still runs in the background draws nothing any more.
void LocalShell::ended() {
  if (!reaped_) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
    pid_ = 0;
    reaped_.emplace(ShellExit{.code = WEXITSTATUS(status)});
    if (WIFSIGNALED(status)) {
      const char* name = ::sigabbrev_np(WTERMSIG(status));
      *reaped_ = {.code = 128 + WTERMSIG(status), .signal = name != nullptr ? name : std::to_string(WTERMSIG(status))};
    }
    uv_poll_stop(exit_);
  }
  if (!drawn_ && !cancelled_) read();
  if (drawing_ > 0 && !cancelled_) return;
  if (cancelled_) return finish(core::cancelled());
  finish(std::move(*reaped_));
}

void LocalShell::cancel() noexcept {
  if (!done_ || std::exchange(cancelled_, true)) return;
  console_->stop();
  if (pid_ == 0) return finish(core::cancelled());
  ::kill(-pid_, SIGHUP);
  grace_.start(kGrace, [this] {
    if (pid_ != 0) ::kill(-pid_, SIGKILL);
  });
}

void LocalShell::finish(Result<ShellExit> result) {
  grace_.cancel();
  for (uv_poll_t** poll : {&terminal_, &exit_}) {
    if (*poll != nullptr) close_handle(std::exchange(*poll, nullptr));
  }
  for (int* fd : {&master_, &pidfd_}) {
    if (*fd >= 0) ::close(std::exchange(*fd, -1));  // hangs up on what was left in the background
  }
  console_.reset();
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::core
