// A shell, or a program, on a host with a real terminal: keys go there, what it draws comes here, both ends have the
// same size.
#pragma once

#include <memory>
#include <string>

#include "core/operation.hpp"
#include "core/terminal.hpp"
#include "ssh/remote_command.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

/// Completes when the program there has ended. An exit code other than 0, a signal too, is a result. Kinds: `ssh.exec`
/// (refused), `ssh.pty` (no terminal there), `ssh.channel`, `ssh.lost`, `ssh.closed`, `cancelled` (the program there
/// gets HUP). The console is as it was before `done` is called.
class Shell final : public core::Operation<Exit>, private Waiter {
 public:
  /// An empty line is the account's own shell.
  Shell(std::shared_ptr<Session> session, std::unique_ptr<core::Console> console, std::string line);
  ~Shell() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  enum class State { opening, terminal, starting, running, over };

  bool progress() override;
  void lost(const core::Error& error) override;
  bool ask_terminal();
  bool begin();
  bool send();
  bool receive(int stream);
  bool resize();
  void finish(core::Result<Exit> result);

  std::shared_ptr<Session> session_;
  std::unique_ptr<core::Console> console_;
  std::string line_;
  Done done_;
  State state_ = State::opening;
  std::shared_ptr<void> request_;
  std::unique_ptr<Channel> channel_;
  core::Console::Size size_;
  bool resized_ = false;
  std::string typed_;
  bool typed_end_ = false;
  bool eof_sent_ = false;
  std::size_t drawing_ = 0;  // bytes on their way to the console
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::ssh
