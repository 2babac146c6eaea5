// A shell, or a program, of this machine on a terminal of its own: keys go there, what it draws comes here, both ends
// have the same size. What ssh/shell.hpp is for other hosts.
#pragma once

#include <sys/types.h>
#include <uv.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/terminal.hpp"

namespace deployrun::core {

/// How it ended: 128 + n where signal n ended it, whose name ("KILL") is told then.
struct ShellExit {
  int code = 0;
  std::string signal{};
};

/// Completes when the program has ended; an exit code other than 0 is a result. Cancelled, its terminal is hung up and
/// it gets KILL two seconds later. Kinds: `process.spawn`, `cancelled`. The console is as it was before `done` is
/// called.
class LocalShell final : public Operation<ShellExit> {
 public:
  /// `argv` is not empty.
  LocalShell(Loop& loop, std::unique_ptr<Console> console, std::vector<std::string> argv);
  /// Before completion: KILL.
  ~LocalShell() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  int open();
  int spawn(int slave);
  void begin();
  void watch();
  void moved(int events);
  void read();
  void write();
  void ended();
  void finish(Result<ShellExit> result);

  Loop& loop_;
  std::unique_ptr<Console> console_;
  std::vector<std::string> argv_;
  Done done_;
  int master_ = -1;
  int pidfd_ = -1;
  pid_t pid_ = 0;
  uv_poll_t* terminal_ = nullptr;  // on master_
  uv_poll_t* exit_ = nullptr;      // on pidfd_
  std::string typed_;
  std::size_t drawing_ = 0;  // bytes on their way to the console
  bool drawn_ = false;       // nothing more comes
  bool cancelled_ = false;
  std::optional<ShellExit> reaped_;
  Timer grace_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::array<char, 32768> buffer_;
};

}  // namespace deployrun::core
