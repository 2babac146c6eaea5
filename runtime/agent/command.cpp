#include "command.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace deployrun::agent {

namespace {

constexpr std::array kPassed = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGALRM};

[[noreturn]] void become(const std::vector<std::string>& argv, int inherited, const sigset_t& before, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);  // it ended before we said so
  ::fcntl(inherited, F_SETFD, 0);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  const int code = errno;
  std::fprintf(stderr, "deployrun-agent: %s: %s\n", words[0], std::strerror(code));
  ::_exit(code == ENOENT ? 127 : 126);
}

/// Whether `child` has ended; others are reaped on the way.
bool reap(pid_t child, CommandEnd& end) {
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, WNOHANG);
    if (ended <= 0) return false;
    if (ended != child) continue;
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
    return true;
  }
}

}  // namespace

CommandEnd run_command(const std::vector<std::string>& argv, int inherited) {
  sigset_t wanted, before;
  ::sigemptyset(&wanted);
  ::sigaddset(&wanted, SIGCHLD);
  for (const int number : kPassed) ::sigaddset(&wanted, number);
  ::sigprocmask(SIG_BLOCK, &wanted, &before);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  CommandEnd end;
  if (child < 0) {
    std::fprintf(stderr, "deployrun-agent: fork: %s\n", std::strerror(errno));
    end.code = 126;
  } else if (child == 0) {
    become(argv, inherited, before, parent);
  } else {
    for (;;) {
      siginfo_t what{};
      const int number = ::sigwaitinfo(&wanted, &what);
      if (number == SIGCHLD) {
        if (reap(child, end)) break;
      } else if (number > 0 && what.si_code != SI_KERNEL) {
        // The kernel's own (Ctrl-C, a hang-up) go to the whole foreground group, the command included.
        ::kill(child, number);
      }
    }
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return end;
}

int pass_on(const CommandEnd& end) {
  if (end.signal == 0) return end.code;
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(end.signal, &plain, nullptr);
  ::prctl(PR_SET_DUMPABLE, 0);  // the command's core is the one to look at
  ::raise(end.signal);
  return 128 + end.signal;
}

}  // namespace deployrun::agent
