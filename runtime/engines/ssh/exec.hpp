// Runs a command on a host to its end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/operation.hpp"
#include "core/process.hpp"
#include "core/stream.hpp"
#include "ssh/quote.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

struct ExecOptions {
  Command command;
  std::string input;                           ///< the command's stdin …
  std::unique_ptr<core::Stream> input_stream;  ///< … and where the rest of it comes from
  std::size_t output_limit = 8U << 20U;        ///< bytes, both outputs together
  bool keep_output = true;                     ///< false: only `on_output` sees it, without a limit
  /// Pieces as they arrive, at no particular boundary. Must not destroy the operation.
  std::function<void(core::Output, std::string_view)> on_output;
};

struct ExecResult {
  std::string out;
  std::string err;
  int code = 0;        ///< 128 + n where signal n ended it
  std::string signal;  ///< "KILL" …; empty for an ordinary exit
  core::Milliseconds duration{0};
};

/// An exit code other than 0, a signal too, is a result. Kinds: `ssh.exec` (refused, or no shell began it),
/// `ssh.output_limit` (the command is ended), `ssh.channel`, `ssh.lost`, `ssh.closed`, `cancelled`, and what the input
/// stream fails with (the command is ended). Cancelled: TERM to the remote process group, KILL two seconds later, then
/// `cancelled`. An answer of OpenSSH always ends with a status; a server that closes a channel without one reads as
/// code 0 with libssh2 1.11.1.
class Exec final : public core::Operation<ExecResult> {
 public:
  Exec(std::shared_ptr<Session> session, ExecOptions options);
  ~Exec() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace deployrun::ssh
