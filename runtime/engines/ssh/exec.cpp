#include "ssh/exec.hpp"

#include <optional>

#include "core/secret.hpp"
#include "ssh/remote_command.hpp"

namespace deployrun::ssh {

class Exec::Run {
 public:
  Run(std::shared_ptr<Session> session, ExecOptions options) : options_(std::move(options)), host_(session->host()) {
    std::string nonce = RemoteCommand::make_nonce();
    CommandLine line = command_line(options_.command, nonce);
    command_.emplace(std::move(session), std::move(line), std::move(nonce));
  }
  ~Run() { core::wipe(options_.input); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void start(Done done) {
    done_ = std::move(done);
    begun_ = core::Loop::now();
    command_->start({.output = [this](core::Output output, std::string_view bytes) { take(output, bytes); },
                     .ended = [this](core::Result<Exit> exit) { finish(std::move(exit)); }});
    if (options_.input.empty()) return options_.input_stream ? feed() : command_->end_input();
    command_->write(std::move(options_.input), [this](const core::Result<core::Unit>& written) {
      if (options_.input_stream && written && done_ && !reason_) feed();
    });
    if (!options_.input_stream) command_->end_input();
  }

  void stop(core::Error reason) {
    if (!done_) return;
    if (!reason_) reason_ = std::move(reason);
    command_->stop();
  }

 private:
  void take(core::Output output, std::string_view bytes) {
    if (reason_) return;
    if (options_.on_output) options_.on_output(output, bytes);
    if (!options_.keep_output) return;
    if (result_.out.size() + result_.err.size() + bytes.size() > options_.output_limit) {
      core::Error error{.kind = "ssh.output_limit",
                        .message = "a command on " + host_ + " printed more than " +
                                   std::to_string(options_.output_limit) + " bytes and was ended",
                        .hint = "send its output to a file, or take it piece by piece",
                        .host = host_};
      error.details["stderr"] = result_.err;
      return stop(std::move(error));
    }
    (output == core::Output::out ? result_.out : result_.err) += bytes;
  }

  /// One piece from the stream to the command at a time, while the next one is being read; the command's pace is the
  /// stream's.
  void feed() {
    if (reading_ || ended_ || next_) return;
    reading_ = true;
    options_.input_stream->read([this](core::Result<std::string> piece) {
      reading_ = false;
      if (!done_ || reason_) return;
      if (!piece) return stop(piece.error());
      ended_ = piece->empty();
      if (!ended_) next_ = std::move(piece).value();
      pass();
    });
  }

  void pass() {
    if (writing_) return;
    if (!next_) {
      if (ended_) command_->end_input();
      return;
    }
    writing_ = true;
    std::string piece = std::move(*next_);
    next_.reset();
    command_->write(std::move(piece), [this](const core::Result<core::Unit>& written) {
      writing_ = false;
      if (!written || !done_ || reason_) return;
      pass();
      feed();
    });
    feed();
  }

  void finish(core::Result<Exit> exit) {
    const auto done = std::exchange(done_, nullptr);
    if (reason_) return done(std::move(*reason_));
    if (!exit) return done(exit.error());
    if (!exit->begun) return done(not_begun(host_, exit->code, result_.err + result_.out));
    result_.code = exit->code;
    result_.signal = exit->signal;
    result_.duration = std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_);
    done(std::move(result_));
  }

  ExecOptions options_;
  std::string host_;
  ExecResult result_;
  Done done_;
  core::Instant begun_{};
  std::optional<core::Error> reason_;
  std::optional<std::string> next_;  // read, not yet written
  bool reading_ = false;
  bool writing_ = false;
  bool ended_ = false;  // the input stream
  std::optional<RemoteCommand> command_;
};

Exec::Exec(std::shared_ptr<Session> session, ExecOptions options)
    : run_(std::make_unique<Run>(std::move(session), std::move(options))) {}
Exec::~Exec() = default;
void Exec::start(Done done) { run_->start(std::move(done)); }
void Exec::cancel() noexcept { run_->stop(core::cancelled()); }

}  // namespace deployrun::ssh
