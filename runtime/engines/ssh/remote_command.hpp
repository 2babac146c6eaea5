// One command on one session channel, from asking for the channel to the exit status: what exec, the exec streams and
// the transfers are made of. Knows how to end the remote process.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/loop.hpp"
#include "core/process.hpp"
#include "core/stream.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

/// How a command ended. `code` is 128 + n where signal n ended it.
struct Exit {
  int code = 0;
  std::string signal;  ///< "TERM", "KILL" …; empty for an ordinary exit
  bool begun = true;   ///< false: the shell never reported that it began the command
};

/// For a command that no shell began: an account for file transfer alone, for another command, or for nobody. Kind
/// `ssh.exec`; details `code`, `stderr` (what was printed instead).
core::Error not_begun(const std::string& host, int code, std::string_view said);

class RemoteCommand;
/// For a script of a transfer that printed something else than is due: in its place something else runs, or the shell
/// is a talkative one.
core::Error unexpected_output(const RemoteCommand& command, const std::string& what, const std::string& host,
                              std::string_view said);

/// How the program of a channel ended that the server has closed.
Exit exit_of(Channel& channel);

class RemoteCommand final : private Waiter {
 public:
  struct Events {
    /// Pieces as they come; may destroy the command.
    std::function<void(core::Output, std::string_view)> output;
    /// Once, at the end; may destroy the command. Kinds: `ssh.exec`, `ssh.lost`, `ssh.closed`, `ssh.channel`,
    /// `cancelled` after `stop`.
    std::function<void(core::Result<Exit>)> ended;
  };

  /// A command that is cancelled: TERM at once, KILL after kGrace, given up after twice that.
  static constexpr core::Milliseconds kGrace{2000};

  /// `nonce` is the one that `command_line` got; with it the remote process group is known and can be ended.
  RemoteCommand(std::shared_ptr<Session> session, CommandLine line, std::string nonce, Use use = Use::usual);
  /// Before the end: the remote process is ended in the background.
  ~RemoteCommand();

  /// `ended` never comes before this returns.
  void start(Events events);
  /// One at a time. `done` comes when libssh2 has taken all; an error when the command ended before.
  void write(std::string bytes, core::Stream::Written done);
  /// After what was written: the command sees the end of its input.
  void end_input();
  /// While held, stdout stays with the server (as far as the window goes).
  void hold(bool held);
  /// Ends the remote process; `ended` follows.
  void stop();

  /// Whether the shell has reported that it began it.
  bool begun() const noexcept { return reported_; }

  static std::string make_nonce();

 private:
  enum class State { idle, opening, starting, running, over };

  bool progress() override;
  void lost(const core::Error& error) override;
  bool begin();
  bool send();
  bool read(int stream, core::Output output);
  void take(core::Output output, std::string_view bytes);
  void take_report(std::string_view bytes);
  void signal();
  void finish();
  void end(core::Result<Exit> result);

  std::shared_ptr<Session> session_;
  CommandLine line_;
  std::string nonce_;
  Use use_;
  std::shared_ptr<Events> events_;  // kept by whoever is calling one of them
  State state_ = State::idle;
  std::shared_ptr<void> request_;
  std::unique_ptr<Channel> channel_;

  std::string input_;
  std::size_t taken_ = 0;
  core::Stream::Written written_;
  bool input_ended_ = false;
  bool eof_sent_ = false;
  bool held_ = false;

  std::string report_;  // stderr so far, while the line with the process group is still to come
  bool reported_ = false;
  long group_ = 0;

  bool stopping_ = false;
  bool kill_asked_ = false;       // a background kill of the group is under way
  const char* signal_ = nullptr;  // still to be sent
  core::Timer grace_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // what was deferred looks here first
};

}  // namespace deployrun::ssh
