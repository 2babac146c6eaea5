#include "ssh/remote_command.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "core/base64.hpp"
#include "core/text.hpp"
#include "ssh/remote_file.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kReportLimit = 16U << 10U;  // more stderr than this without our line: it will not come
constexpr std::size_t kWriteSlice = 512U << 10U;  // per turn, so that one upload does not starve the rest

/// The signals of RFC 4254 §6.10.
int signal_number(std::string_view name) {
  struct Known {
    std::string_view name;
    int number;
  };
  static constexpr std::array<Known, 13> kKnown = {{{"HUP", 1},
                                                    {"INT", 2},
                                                    {"QUIT", 3},
                                                    {"ILL", 4},
                                                    {"ABRT", 6},
                                                    {"FPE", 8},
                                                    {"KILL", 9},
                                                    {"USR1", 10},
                                                    {"SEGV", 11},
                                                    {"USR2", 12},
                                                    {"PIPE", 13},
                                                    {"ALRM", 14},
                                                    {"TERM", 15}}};
  for (const Known& known : kKnown) {
    if (known.name == name) return known.number;
  }
  return 0;
}

}  // namespace

Exit exit_of(Channel& channel) {
  Exit exit;
  exit.code = libssh2_channel_get_exit_status(channel.raw());
  char* name = nullptr;
  std::size_t length = 0;
  libssh2_channel_get_exit_signal(channel.raw(), &name, &length, nullptr, nullptr, nullptr, nullptr);
  if (name != nullptr) {
    exit.signal.assign(name, length);
    exit.code = 128 + signal_number(exit.signal);
    libssh2_free(channel.transport().raw(), name);
  }
  return exit;
}

core::Error not_begun(const std::string& host, int code, std::string_view said) {
  const std::string last(core::trim(core::clean(core::tail(said, 2048))));
  core::Error error{
      .kind = "ssh.exec",
      .message = "no shell began the command on " + host + (last.empty() ? "" : ": " + last),
      .hint = "the account may be limited to file transfer or to one command; its shell must be one like sh",
      .host = host};
  error.details["code"] = std::int64_t{code};
  error.details["stderr"] = last;
  return error;
}

core::Error unexpected_output(const RemoteCommand& command, const std::string& what, const std::string& host,
                              std::string_view said) {
  if (!command.begun()) return not_begun(host, 1, said);
  return transfer_failure(what, host, 1, "unexpected output (does a shell start-up file print?)");
}

std::string RemoteCommand::make_nonce() {
  std::array<unsigned char, 12> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return {};
  return "deployrun-" + core::hex_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

RemoteCommand::RemoteCommand(std::shared_ptr<Session> session, CommandLine line, std::string nonce, Use use)
    : session_(std::move(session)),
      line_(std::move(line)),
      nonce_(std::move(nonce)),
      use_(use),
      reported_(nonce_.empty()),
      grace_(session_->loop()) {}

RemoteCommand::~RemoteCommand() {
  session_->transport().remove(this);
  if (state_ == State::running && session_->alive()) {
    libssh2_channel_signal_ex(channel_->raw(), "TERM", 4);
    if (!kill_asked_) session_->end_group(group_);
  }
  core::wipe(line_.preamble);
  core::wipe(input_);
}

void RemoteCommand::start(Events events) {
  events_ = std::make_shared<Events>(std::move(events));
  state_ = State::opening;
  if (!line_.preamble.empty()) input_.swap(line_.preamble);
  request_ = session_->open_channel(
      {},
      [this](core::Result<std::unique_ptr<Channel>> opened) {
        request_.reset();
        if (!opened) return end(opened.error());
        channel_ = std::move(opened).value();
        state_ = State::starting;
        session_->transport().ask();
        session_->transport().add(this);
        session_->transport().pump();
      },
      use_);
}

void RemoteCommand::write(std::string bytes, core::Stream::Written done) {
  if (state_ == State::over) {
    return done(core::Error{.kind = "ssh.closed", .message = "the command has ended", .host = session_->host()});
  }
  if (taken_ < input_.size()) {
    input_ += bytes;  // the preamble is still on its way
  } else {
    input_ = std::move(bytes);
    taken_ = 0;
  }
  written_ = std::move(done);
  if (state_ == State::running) session_->transport().pump_later();
}

void RemoteCommand::end_input() {
  input_ended_ = true;
  if (state_ == State::running) session_->transport().pump_later();
}

void RemoteCommand::hold(bool held) {
  if (held_ == held) return;
  held_ = held;
  if (!held && state_ == State::running) session_->transport().pump_later();
}

void RemoteCommand::stop() {
  if (stopping_ || state_ == State::over) return;
  stopping_ = true;
  if (state_ == State::opening) {
    request_.reset();
    state_ = State::over;
    session_->loop().defer([weak = std::weak_ptr<bool>(alive_), this] {
      if (!weak.expired()) end(core::cancelled());
    });
    return;
  }
  signal_ = "TERM";
  held_ = false;
  grace_.start(kGrace, [this] {
    signal_ = "KILL";
    grace_.start(kGrace, [this] { end(core::cancelled()); });
    signal();
    session_->transport().pump();
  });
  signal();
  session_->transport().pump_later();
}

void RemoteCommand::signal() {
  if (state_ != State::running || !stopping_) return;
  // The request that ssh(1) does not know but sshd does, if it is not a forced command and not root's connection …
  if (signal_ != nullptr &&
      libssh2_channel_signal_ex(channel_->raw(), signal_, std::strlen(signal_)) != LIBSSH2_ERROR_EAGAIN) {
    signal_ = nullptr;
  }
  // … and kill(1) beside it, which needs another session but works for root too (sshd 9.2: session_signal_req).
  if (group_ > 0 && !kill_asked_) {
    kill_asked_ = true;
    session_->end_group(group_);
  }
}

bool RemoteCommand::begin() {
  const int code = libssh2_channel_process_startup(channel_->raw(), "exec", 4, line_.line.data(),
                                                   static_cast<unsigned>(line_.line.size()));
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code == 0) {
    state_ = State::running;
    return true;
  }
  if (Transport::fatal(code)) {
    session_->transport().fail(
        session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
  } else {
    end(core::Error{.kind = "ssh.exec",
                    .message = "the server refused to start a command on " + session_->host(),
                    .hint = "the account may be limited to file transfer or to one command",
                    .host = session_->host()});
  }
  return true;
}

bool RemoteCommand::send() {
  bool moved = false;
  std::size_t slice = 0;
  while (taken_ < input_.size() && !session_->transport().congested()) {
    if (slice >= kWriteSlice) {
      session_->transport().pump_later();
      return moved;
    }
    // Repeated with the same bytes until it is taken: they may be half on their way (during a key exchange).
    const ssize_t count = channel_->write(input_.data() + taken_, input_.size() - taken_);
    if (count == LIBSSH2_ERROR_EAGAIN || count == 0) return moved;
    if (count < 0) {
      if (Transport::fatal(count)) {
        session_->transport().fail(
            session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
        return true;
      }
      taken_ = input_.size();  // nobody reads it any more; the exit status will tell
      break;
    }
    taken_ += static_cast<std::size_t>(count);
    slice += static_cast<std::size_t>(count);
    moved = true;
  }
  if (taken_ < input_.size()) return moved;
  if (!input_.empty()) {
    core::wipe(input_);
    taken_ = 0;
    if (written_) {
      const auto written = std::exchange(written_, nullptr);
      written(core::Unit{});
      return true;
    }
  } else if (written_) {
    const auto written = std::exchange(written_, nullptr);
    written(core::Unit{});
    return true;
  }
  if (input_ended_ && !eof_sent_ && libssh2_channel_send_eof(channel_->raw()) != LIBSSH2_ERROR_EAGAIN) {
    eof_sent_ = true;
    moved = true;
  }
  return moved;
}

bool RemoteCommand::read(int stream, core::Output output) {
  std::array<char, 32U << 10U> piece;
  bool moved = false;
  while (!(held_ && output == core::Output::out)) {
    const ssize_t count = libssh2_channel_read_ex(channel_->raw(), stream, piece.data(), piece.size());
    if (count == LIBSSH2_ERROR_EAGAIN || count == 0) return moved;
    if (count < 0) {
      session_->transport().fail(
          session_->transport().last_error("ssh.lost", "connection to " + session_->host() + " lost"));
      return true;
    }
    moved = true;
    const std::weak_ptr<bool> living = alive_;
    take(output, {piece.data(), static_cast<std::size_t>(count)});
    if (living.expired() || state_ != State::running || !session_->alive()) return true;
  }
  return moved;
}

void RemoteCommand::take(core::Output output, std::string_view bytes) {
  if (output == core::Output::err && !reported_) return take_report(bytes);
  if (stopping_) return;
  if (const auto events = events_; events && events->output) events->output(output, bytes);
}

void RemoteCommand::take_report(std::string_view bytes) {
  report_ += bytes;
  const std::size_t at = report_.find(nonce_ + " ");
  const std::size_t end = at == std::string::npos ? at : report_.find('\n', at);
  if (end == std::string::npos) {
    if (report_.size() < kReportLimit) return;
  } else {
    const char* number = report_.data() + at + nonce_.size() + 1;
    std::from_chars(number, report_.data() + end, group_);
    report_.erase(at, end + 1 - at);
    signal();
  }
  reported_ = true;
  const std::string rest = std::move(report_);
  report_.clear();
  if (!rest.empty()) take(core::Output::err, rest);
}

bool RemoteCommand::progress() {
  const std::weak_ptr<bool> living = alive_;
  const auto gone = [&] { return living.expired() || state_ != State::running || !session_->alive(); };
  if (state_ == State::starting) {
    if (!begin() || state_ != State::running) return state_ != State::starting;
    signal();
  }
  if (signal_ != nullptr) signal();
  bool moved = send();
  if (gone()) return true;
  moved = read(0, core::Output::out) || moved;
  if (gone()) return true;
  moved = read(SSH_EXTENDED_DATA_STDERR, core::Output::err) || moved;
  if (gone()) return true;
  if (libssh2_channel_eof(channel_->raw()) != 1) return moved;
  // The status comes after the end of the output, before the close.
  if (libssh2_channel_wait_closed(channel_->raw()) == LIBSSH2_ERROR_EAGAIN) return moved;
  finish();
  return true;
}

void RemoteCommand::finish() {
  const bool begun = reported_;
  if (!reported_ && !report_.empty()) {
    reported_ = true;
    const std::string rest = std::move(report_);
    const std::weak_ptr<bool> living = alive_;
    take(core::Output::err, rest);
    if (living.expired() || state_ != State::running) return;
  }
  if (stopping_) return end(core::cancelled());
  Exit exit = exit_of(*channel_);
  exit.begun = begun;
  end(std::move(exit));
}

void RemoteCommand::lost(const core::Error& error) { end(stopping_ ? core::cancelled() : error); }

void RemoteCommand::end(core::Result<Exit> result) {
  session_->transport().remove(this);
  grace_.cancel();
  state_ = State::over;
  request_.reset();
  channel_.reset();
  const auto written = std::exchange(written_, nullptr);
  const auto events = std::exchange(events_, nullptr);
  const std::weak_ptr<bool> living = alive_;
  if (written) {
    written(core::Error{
        .kind = "ssh.closed", .message = "the command ended before it had read its input", .host = session_->host()});
    if (living.expired()) return;
  }
  if (events && events->ended) events->ended(std::move(result));
}

}  // namespace deployrun::ssh
