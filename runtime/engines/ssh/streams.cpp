#include "ssh/streams.hpp"

#include <array>

#include "core/text.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kPiece = 64U << 10U;
constexpr std::size_t kHoldAt = 256U << 10U;  // a command's output is not read ahead further than this
constexpr std::size_t kStderrKept = 4U << 10U;

core::Error closed(const std::string& host) {
  return {.kind = "ssh.closed", .message = "the stream to " + host + " is closed", .host = host};
}

}  // namespace

ChannelStream::ChannelStream(std::unique_ptr<Channel> channel)
    : session_(channel->session().shared_from_this()), channel_(std::move(channel)) {
  session_->transport().add(this);
}

ChannelStream::~ChannelStream() { session_->transport().remove(this); }

void ChannelStream::read(Read done) {
  if (!channel_) return done(closed(session_->host()));
  read_ = std::move(done);
  session_->transport().pump_later();
}

void ChannelStream::write(std::string bytes, Written done) {
  if (!channel_ || ending_) return done(closed(session_->host()));
  output_ = std::move(bytes);
  taken_ = 0;
  written_ = std::move(done);
  session_->transport().ask();
  session_->transport().pump_later();
}

void ChannelStream::end_write() {
  ending_ = true;
  if (channel_) session_->transport().pump_later();
}

void ChannelStream::close() noexcept {
  if (!channel_) return;
  session_->transport().remove(this);
  channel_.reset();
  const auto read = std::exchange(read_, nullptr);
  const auto written = std::exchange(written_, nullptr);
  if (read) read(core::cancelled());
  if (written) written(core::cancelled());
}

bool ChannelStream::progress() {
  const std::weak_ptr<bool> living = alive_;  // a callback may destroy the stream
  const bool moved = send();
  if (living.expired() || !channel_) return true;
  return receive() || moved;
}

bool ChannelStream::send() {
  bool moved = false;
  while (written_ && taken_ < output_.size() && !session_->transport().congested()) {
    const ssize_t count = channel_->write(output_.data() + taken_, output_.size() - taken_);
    if (count == LIBSSH2_ERROR_EAGAIN || count == 0) return moved;
    if (count < 0) {
      session_->transport().fail(
          session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
      return true;
    }
    taken_ += static_cast<std::size_t>(count);
    moved = true;
  }
  if (written_ && taken_ == output_.size()) {
    output_.clear();
    const auto written = std::exchange(written_, nullptr);
    written(core::Unit{});
    return true;
  }
  if (ending_ && !eof_sent_ && !written_ && libssh2_channel_send_eof(channel_->raw()) != LIBSSH2_ERROR_EAGAIN) {
    eof_sent_ = true;
    return true;
  }
  return moved;
}

bool ChannelStream::receive() {
  if (!read_) return false;
  std::array<char, kPiece> piece;
  const ssize_t count = libssh2_channel_read(channel_->raw(), piece.data(), piece.size());
  if (count == LIBSSH2_ERROR_EAGAIN) return false;
  if (count < 0) {
    session_->transport().fail(
        session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
    return true;
  }
  if (count == 0 && libssh2_channel_eof(channel_->raw()) != 1) return false;
  const auto read = std::exchange(read_, nullptr);
  read(std::string(piece.data(), static_cast<std::size_t>(count)));
  return true;
}

void ChannelStream::lost(const core::Error& error) {
  channel_.reset();
  const auto read = std::exchange(read_, nullptr);
  const auto written = std::exchange(written_, nullptr);
  if (read) read(error);
  if (written) written(error);
}

ExecStream::ExecStream(std::shared_ptr<Session> session, const Command& command, Use use)
    : what_(command.argv.empty() ? "sh" : command.argv[0]), host_(session->host()) {
  std::string nonce = RemoteCommand::make_nonce();
  CommandLine line = command_line(command, nonce);
  command_ = std::make_unique<RemoteCommand>(std::move(session), std::move(line), std::move(nonce), use);
  RemoteCommand::Events events;
  events.output = [this](core::Output output, std::string_view bytes) {
    if (output == core::Output::err) {
      stderr_ += bytes;
      if (stderr_.size() > 2 * kStderrKept) stderr_.erase(0, stderr_.size() - kStderrKept);
      return;
    }
    input_ += bytes;
    if (input_.size() >= kHoldAt) command_->hold(true);
    serve();
  };
  events.ended = [this](core::Result<Exit> exit) {
    if (!exit) {
      end_.emplace(exit.error());
    } else if (exit->code == 0) {
      end_.emplace(core::Unit{});
    } else {
      const std::string last = core::clean(core::tail(stderr_, kStderrKept));
      core::Error error{.kind = "ssh.exec",
                        .message = what_ + " on " + host_ + " ended with code " + std::to_string(exit->code) +
                                   (last.empty() ? "" : ": " + std::string(core::trim(last))),
                        .host = host_};
      error.details["code"] = std::int64_t{exit->code};
      error.details["stderr"] = last;
      end_.emplace(std::move(error));
    }
    serve();
  };
  command_->start(std::move(events));
}

ExecStream::~ExecStream() = default;

void ExecStream::read(Read done) {
  if (!command_) return done(closed(host_));
  read_ = std::move(done);
  serve();
}

void ExecStream::serve() {
  if (!read_ || (input_.empty() && !end_)) return;
  const auto read = std::exchange(read_, nullptr);
  if (!input_.empty()) {
    std::string bytes = std::exchange(input_, {});
    command_->hold(false);
    read(std::move(bytes));
  } else if (end_->ok()) {
    read(std::string{});
  } else {
    read(end_->error());
  }
}

void ExecStream::write(std::string bytes, Written done) {
  if (!command_) return done(closed(host_));
  command_->write(std::move(bytes), std::move(done));
}

void ExecStream::end_write() {
  if (command_) command_->end_input();
}

void ExecStream::close() noexcept {
  command_.reset();
  input_.clear();
  if (const auto read = std::exchange(read_, nullptr)) read(core::cancelled());
}

void OpenStream::start(Done done) {
  done_ = std::move(done);
  request_ = session_->open_channel(destination_, [this](core::Result<std::unique_ptr<Channel>> opened) {
    request_.reset();
    const auto finished = std::exchange(done_, nullptr);
    if (!opened) return finished(opened.error());
    finished(std::unique_ptr<core::Stream>(std::make_unique<ChannelStream>(std::move(opened).value())));
  });
}

void OpenStream::cancel() noexcept {
  if (!done_) return;
  request_.reset();
  const auto finished = std::exchange(done_, nullptr);
  finished(core::cancelled());
}

OpenSubsystem::~OpenSubsystem() { session_->transport().remove(this); }

void OpenSubsystem::start(Done done) {
  done_ = std::move(done);
  request_ = session_->open_channel({}, [this](core::Result<std::unique_ptr<Channel>> opened) {
    request_.reset();
    if (!opened) return finish(opened.error());
    channel_ = std::move(opened).value();
    session_->transport().ask();
    session_->transport().add(this);
    session_->transport().pump();
  });
}

bool OpenSubsystem::progress() {
  const int code = libssh2_channel_process_startup(channel_->raw(), "subsystem", 9, name_.data(),
                                                   static_cast<unsigned>(name_.size()));
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code == 0) {
    finish(std::unique_ptr<core::Stream>(std::make_unique<ChannelStream>(std::move(channel_))));
  } else if (Transport::fatal(code)) {
    session_->transport().fail(
        session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
  } else {
    finish(core::Error{.kind = "ssh.sftp",
                       .message = "the server of " + session_->host() + " has no subsystem `" + name_ + "`",
                       .host = session_->host()});
  }
  return true;
}

void OpenSubsystem::lost(const core::Error& error) { finish(error); }

void OpenSubsystem::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

void OpenSubsystem::finish(core::Result<std::unique_ptr<core::Stream>> result) {
  session_->transport().remove(this);
  request_.reset();
  channel_.reset();
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

std::unique_ptr<core::Operation<std::unique_ptr<core::Stream>>> Session::open_stream(Destination destination) {
  return std::make_unique<OpenStream>(shared_from_this(), std::move(destination));
}

core::Dial Session::dial(Destination destination) {
  return [session = shared_from_this(),
          destination](std::function<void(core::Result<std::unique_ptr<core::Stream>>)> done) {
    const std::shared_ptr<core::Operation<std::unique_ptr<core::Stream>>> operation = session->open_stream(destination);
    operation->start(std::move(done));
    return std::shared_ptr<void>(operation);
  };
}

core::Dial Session::dial_exec(Command command, Use use) {
  return [session = shared_from_this(), command,
          use](std::function<void(core::Result<std::unique_ptr<core::Stream>>)> done) {
    done(std::unique_ptr<core::Stream>(std::make_unique<ExecStream>(session, command, use)));
    return std::shared_ptr<void>();
  };
}

}  // namespace deployrun::ssh
