#include "ssh/shell.hpp"

#include <array>

namespace deployrun::ssh {
namespace {

constexpr std::size_t kTypedAhead = 64U << 10U;   // more keys than this wait in the terminal
constexpr std::size_t kDrawnAhead = 256U << 10U;  // more output than this waits on the host

}  // namespace

Shell::Shell(std::shared_ptr<Session> session, std::unique_ptr<core::Console> console, std::string line)
    : session_(std::move(session)), console_(std::move(console)), line_(std::move(line)) {}

Shell::~Shell() { session_->transport().remove(this); }

void Shell::start(Done done) {
  done_ = std::move(done);
  request_ = session_->open_channel({}, [this](core::Result<std::unique_ptr<Channel>> opened) {
    request_.reset();
    if (!opened) return finish(opened.error());
    channel_ = std::move(opened).value();
    state_ = State::terminal;
    size_ = console_->size();
    session_->transport().ask();
    session_->transport().add(this);
    session_->transport().pump();
  });
}

void Shell::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

bool Shell::progress() {
  const std::weak_ptr<bool> living = alive_;
  const auto gone = [&] { return living.expired() || state_ != State::running; };
  if (state_ == State::terminal && !ask_terminal()) return false;
  if (!living.expired() && state_ == State::starting && !begin()) return false;
  if (gone()) return true;
  bool moved = resize();
  moved = send() || moved;
  if (gone()) return true;
  moved = receive(0) || moved;
  if (gone()) return true;
  moved = receive(SSH_EXTENDED_DATA_STDERR) || moved;
  if (gone()) return true;
  if (drawing_ > 0 || libssh2_channel_eof(channel_->raw()) != 1) return moved;
  // The status comes after the end of the output, before the close.
  if (libssh2_channel_wait_closed(channel_->raw()) == LIBSSH2_ERROR_EAGAIN) return moved;
  finish(exit_of(*channel_));
  return true;
}

/// True when it was answered, one way or the other.
bool Shell::ask_terminal() {
  const std::string term = console_->type();
  const int code =
      libssh2_channel_request_pty_ex(channel_->raw(), term.data(), static_cast<unsigned>(term.size()), nullptr, 0,
                                     static_cast<int>(size_.columns), static_cast<int>(size_.rows), 0, 0);
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code == 0) {
    state_ = State::starting;
    session_->transport().ask();
  } else if (Transport::fatal(code)) {
    session_->transport().fail(
        session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
  } else {
    finish(core::Error{.kind = "ssh.pty",
                       .message = session_->host() + " gives no terminal",
                       .hint = "the server's PermitTTY, or no-pty in the account's authorized_keys, forbids it",
                       .host = session_->host()});
  }
  return true;
}

bool Shell::begin() {
  const bool exec = !line_.empty();
  const int code = libssh2_channel_process_startup(channel_->raw(), exec ? "exec" : "shell", exec ? 4 : 5,
                                                   exec ? line_.data() : nullptr, static_cast<unsigned>(line_.size()));
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code == 0) {
    state_ = State::running;
    core::Console::Events events;
    events.keys = [this](std::string_view keys) {
      typed_ += keys;
      if (keys.empty()) typed_end_ = true;
      if (typed_.size() >= kTypedAhead) console_->hold(true);
      session_->transport().pump_later();
    };
    events.resized = [this] {
      resized_ = true;
      session_->transport().pump_later();
    };
    console_->start_raw(std::move(events));
    resized_ = !(console_->size() == size_);  // while we were asking
  } else if (Transport::fatal(code)) {
    session_->transport().fail(
        session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
  } else {
    finish(core::Error{.kind = "ssh.exec",
                       .message = "the server refused to start a shell on " + session_->host(),
                       .hint = "the account may be limited to file transfer or to one command",
                       .host = session_->host()});
  }
  return true;
}

bool Shell::resize() {
  if (!resized_) return false;
  const core::Console::Size now = console_->size();
  const int code = libssh2_channel_request_pty_size_ex(channel_->raw(), static_cast<int>(now.columns),
                                                       static_cast<int>(now.rows), 0, 0);
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  resized_ = false;
  size_ = now;
  return true;
}

bool Shell::send() {
  bool moved = false;
  while (!typed_.empty() && !session_->transport().congested()) {
    const ssize_t count = libssh2_channel_write(channel_->raw(), typed_.data(), typed_.size());
    if (count == LIBSSH2_ERROR_EAGAIN || count == 0) return moved;
    if (count < 0) {
      typed_.clear();  // nobody reads it any more; the exit status will tell
      break;
    }
    typed_.erase(0, static_cast<std::size_t>(count));
    moved = true;
  }
  if (typed_.size() < kTypedAhead) console_->hold(false);
  if (typed_.empty() && typed_end_ && !eof_sent_ && libssh2_channel_send_eof(channel_->raw()) != LIBSSH2_ERROR_EAGAIN) {
    eof_sent_ = true;
    moved = true;
  }
  return moved;
}

bool Shell::receive(int stream) {
  std::array<char, 32U << 10U> piece;
  bool moved = false;
  while (drawing_ < kDrawnAhead) {
    const ssize_t count = libssh2_channel_read_ex(channel_->raw(), stream, piece.data(), piece.size());
    if (count == LIBSSH2_ERROR_EAGAIN || count == 0) return moved;
    if (count < 0) {
      session_->transport().fail(
          session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
      return true;
    }
    moved = true;
    const auto size = static_cast<std::size_t>(count);
    drawing_ += size;
    console_->write(std::string(piece.data(), size), [this, size, living = std::weak_ptr<bool>(alive_)] {
      if (living.expired()) return;
      drawing_ -= size;
      session_->transport().pump_later();
    });
  }
  return moved;
}

void Shell::lost(const core::Error& error) { finish(error); }

void Shell::finish(core::Result<Exit> result) {
  session_->transport().remove(this);
  state_ = State::over;
  request_.reset();
  channel_.reset();
  console_.reset();
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh
