#include "ssh/transport.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/text.hpp"
#include "ssh/carrier.hpp"
#include "ssh/fast_gcm.hpp"
#include "ssh/hello.hpp"
#include "ssh/methods.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kInLimit = 512U << 10U;      // read ahead of libssh2 at most this much
constexpr std::size_t kFlushAt = 256U << 10U;      // several packets in one system call
constexpr std::size_t kKeepCapacity = 64U << 10U;  // an idle connection gives larger buffers back

template <class Value>
void set_option(int fd, int level, int name, Value value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

/// Drops what was consumed at the front of a buffer, without moving bytes for every little piece.
void compact(std::string& buffer, std::size_t& consumed) {
  if (consumed == buffer.size()) {
    buffer.clear();
    consumed = 0;
    if (buffer.capacity() > kKeepCapacity) buffer.shrink_to_fit();
  } else if (consumed >= kFlushAt) {
    buffer.erase(0, consumed);
    consumed = 0;
  }
}

}  // namespace

Transport::Transport(core::Loop& loop, Descriptor socket, std::string host, std::shared_ptr<Carrier> carrier)
    : loop_(loop),
      socket_(std::move(socket)),
      host_(std::move(host)),
      carrier_(std::move(carrier)),
      probe_timer_(loop) {
  const int fd = socket_.get();
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<unsigned>(kSilence.count()));
  session_ = libssh2_session_init_ex(nullptr, nullptr, nullptr, this);
  if (session_ == nullptr) throw std::bad_alloc();
  libssh2_session_set_blocking(session_, 0);
  // Deadlines are the caller's; libssh2's own 60 s would leave a half-open channel behind.
  libssh2_session_set_read_timeout(session_, 365L * 24 * 3600);
  libssh2_session_callback_set2(session_, LIBSSH2_CALLBACK_SEND, reinterpret_cast<libssh2_cb_generic*>(on_send));
  libssh2_session_callback_set2(session_, LIBSSH2_CALLBACK_RECV, reinterpret_cast<libssh2_cb_generic*>(on_recv));
  poll_ = new uv_poll_t;
  uv_poll_init(loop_.raw(), poll_, fd);
  poll_->data = this;
  heard_ = core::Loop::now();
  watch();
}

Transport::~Transport() {
  if (poll_ != nullptr) core::close_handle(poll_);
  // 1.11.1 answers EAGAIN for ever while it believes that the peer may still speak (MODELS.md §7): send callback
  // accepts all, receive callback reports the end.
  dead_ = true;
  for (int i = 0; i < 1000 && libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) continue;
}

ssize_t Transport::on_send(libssh2_socket_t, const void* buffer, size_t length, int, void** abstract) {
  auto* self = static_cast<Transport*>(*abstract);
  if (self->dead_ || self->broken_ != 0) return static_cast<ssize_t>(length);
  self->out_.append(static_cast<const char*>(buffer), length);
  if (self->out_.size() - self->sent_ >= kFlushAt) self->flush();
  return static_cast<ssize_t>(length);
}

ssize_t Transport::on_recv(libssh2_socket_t, void* buffer, size_t length, int, void** abstract) {
  return static_cast<Transport*>(*abstract)->receive(buffer, length);
}

ssize_t Transport::receive(void* buffer, std::size_t length) {
  if (dead_) return 0;
  const std::size_t count = std::min(length, in_.size() - taken_);
  if (count == 0) return -EAGAIN;
  // libssh2 takes a version byte by byte, then packets as they come.
  if (length > 1 && login_ && !accepted_) {
    if (!packets_at_) packets_at_ = handed_;
    if (!acceptable()) return -ECONNABORTED;
  }
  handed_ += count;
  std::memcpy(buffer, in_.data() + taken_, count);
  gcm_arrived(buffer, count);
  taken_ += count;
  again_ = true;
  compact(in_, taken_);
  return static_cast<ssize_t>(count);
}

bool Transport::acceptable() {
  ServerHello hello;
  switch (parse_methods(std::string_view(greeting_).substr(std::min(*packets_at_, greeting_.size())), hello)) {
    case First::methods:
      refusal_ = why_refused(hello);
      accepted_ = refusal_.empty();
      break;
    case First::broken: refusal_ = "what it sends first are no packets of SSH"; break;
    case First::incomplete:
      if (greeting_.size() >= kHelloLimit) refusal_ = "it sends more than 16 KiB before its methods";
  }
  return refusal_.empty();
}

void Transport::fill() {
  std::array<char, 64U << 10U> piece;
  while (in_.size() - taken_ < kInLimit && !ended_ && broken_ == 0) {
    const ssize_t count = ::recv(socket_.get(), piece.data(), piece.size(), 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) broken_ = errno;
      return;
    }
    if (count == 0) {
      ended_ = true;
      return;
    }
    // Not sticky: without it sshd's replies wait 40 ms for our delayed acknowledgement.
    set_option(socket_.get(), IPPROTO_TCP, TCP_QUICKACK, 1);
    in_.append(piece.data(), static_cast<std::size_t>(count));
    if (login_ && greeting_.size() < kHelloLimit) {
      greeting_.append(piece.data(), std::min(static_cast<std::size_t>(count), kHelloLimit - greeting_.size()));
    }
    bytes_in_ += static_cast<std::uint64_t>(count);
    heard_ = core::Loop::now();
    probed_.reset();
    if (asked_) {
      ++round_trips_;
      shortest_wait_ = std::min(shortest_wait_, heard_ - asked_at_);
    }
    asked_ = false;
    if (static_cast<std::size_t>(count) < piece.size()) return;
  }
}

void Transport::flush() {
  while (sent_ < out_.size() && broken_ == 0) {
    const ssize_t count = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) broken_ = errno;
      break;
    }
    sent_ += static_cast<std::size_t>(count);
    bytes_out_ += static_cast<std::uint64_t>(count);
    if ((login_ || asking_) && !std::exchange(asked_, true)) asked_at_ = core::Loop::now();
    asking_ = false;
  }
  compact(out_, sent_);
}

void Transport::add(Waiter* waiter) { waiters_.push_back(waiter); }

void Transport::remove(Waiter* waiter) noexcept {
  const auto found = std::find(waiters_.begin(), waiters_.end(), waiter);
  if (found == waiters_.end()) return;
  if (pumping_) {
    *found = nullptr;  // the list is being walked
  } else {
    waiters_.erase(found);
  }
}

bool Transport::pass() {
  again_ = false;
  if (reap()) again_ = true;
  for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
    if (*at != nullptr && (*at)->progress()) again_ = true;
    if (over_) return false;
  }
  waiters_.remove(nullptr);
  return again_;
}

void Transport::pump() {
  if (over_) return;
  again_ = true;
  if (pumping_) return;
  const auto self = shared_from_this();
  pumping_ = true;
  while (pass()) continue;
  pumping_ = false;
  if (over_) return;
  const bool full = congested();
  flush();
  if (full && !congested()) pump_later();  // writers stopped, and no event will tell them
  if (broken_ != 0) return fail(lost_error(std::strerror(broken_)));
  if (ended_) return fail(lost_error("the server closed the connection"));
  watch();
}

void Transport::pump_later() {
  if (later_ || over_) return;
  later_ = true;
  loop_.defer([weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->later_ = false;
      self->pump();
    }
  });
}

void Transport::on_poll(int status, int events) {
  const auto self = shared_from_this();
  if (status < 0) return fail(lost_error(uv_strerror(status)));
  if ((events & UV_READABLE) != 0) fill();
  if ((events & UV_WRITABLE) != 0) flush();
  pump();
}

void Transport::watch() {
  int events = 0;
  if (!ended_ && in_.size() - taken_ < kInLimit) events |= UV_READABLE;
  if (sent_ < out_.size()) events |= UV_WRITABLE;
  if (events == watching_) return;
  watching_ = events;
  if (events == 0) {
    uv_poll_stop(poll_);
  } else {
    uv_poll_start(poll_, events, [](uv_poll_t* handle, int status, int ready) {
      static_cast<Transport*>(handle->data)->on_poll(status, ready);
    });
  }
}

void Transport::retire(LIBSSH2_CHANNEL* channel, std::function<void()> freed) {
  if (over_) return;  // it goes with the session
  retired_.push_back({channel, std::move(freed)});
  // Not at once: whoever gives a channel up may be deep inside somebody else's completion.
  pump_later();
}

bool Transport::reap() {
  bool moved = false;
  for (auto at = retired_.begin(); at != retired_.end();) {
    if (libssh2_channel_free(at->channel) == LIBSSH2_ERROR_EAGAIN) {
      ++at;
      continue;
    }
    const auto freed = std::move(at->freed);
    at = retired_.erase(at);
    moved = true;
    if (freed) freed();
    if (over_) break;
  }
  return moved;
}

int Transport::shake_hands() {
  const int code = libssh2_session_handshake(session_, socket_.get());
  if (code == 0) keep_methods(session_);
  return code;
}

void Transport::keep_alive() {
  libssh2_keepalive_config(session_, 1, 2);
  heard_ = core::Loop::now();
  login_ = false;
  greeting_ = {};
  const char* banner = libssh2_session_banner_get(session_);
  is_openssh_ = banner != nullptr && std::string_view(banner).find("OpenSSH") != std::string_view::npos;
  arm_probe();
}

void Transport::arm_probe() {
  const core::Instant now = core::Loop::now();
  core::Instant next = (probed_ ? now : heard_) + kProbe;
  if (probed_) next = std::min(next, heard_ + kSilence);
  const auto delay = std::chrono::duration_cast<core::Milliseconds>(next - now);
  probe_timer_.start(std::max(delay, core::Milliseconds{100}), [this] { probe(); });
}

void Transport::probe() {
  const auto self = shared_from_this();
  // The loop may have been held up while an answer lay in the socket.
  fill();
  pump();
  if (over_) return;
  const auto silence = std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - heard_);
  // With our own buffer full nothing is read, and nothing can be concluded.
  const bool listening = in_.size() - taken_ < kInLimit;
  if (probed_ && listening && silence >= kSilence && core::Loop::now() - *probed_ >= kProbe) {
    return fail(lost_error("no answer for " + std::to_string(silence.count() / 1000) + " s"));
  }
  if (silence >= kProbe) {
    const std::size_t before = out_.size();
    libssh2_keepalive_send(session_, nullptr);
    // Its clock is the wall's: it may have decided that it was too early. Only what was asked can be left unanswered.
    if (out_.size() != before) {
      ++probes_;
      if (!probed_) probed_ = core::Loop::now();
    }
    pump();
    if (over_) return;
  }
  arm_probe();
}

void Transport::close(core::Error reason) {
  if (over_) return;
  libssh2_session_disconnect_ex(session_, SSH_DISCONNECT_BY_APPLICATION, "done", "");
  flush();
  fail(std::move(reason));
}

void Transport::fail(core::Error error) {
  if (over_) return;
  const auto self = shared_from_this();
  over_ = std::move(error);
  core::close_handle(poll_);
  poll_ = nullptr;
  socket_ = Descriptor();
  carrier_.reset();
  probe_timer_.cancel();
  retired_.clear();
  while (!waiters_.empty()) {
    Waiter* waiter = waiters_.front();
    waiters_.pop_front();
    if (waiter != nullptr) waiter->lost(*over_);
  }
}

core::Error Transport::last_error(std::string kind, const std::string& what) const {
  char* text = nullptr;
  int length = 0;
  libssh2_session_last_error(session_, &text, &length, 0);
  return {.kind = std::move(kind),
          .message = what + ": " + core::clean({text, static_cast<std::size_t>(std::max(length, 0))}),
          .host = host_};
}

bool Transport::fatal(long code) noexcept {
  switch (code) {
    case LIBSSH2_ERROR_SOCKET_SEND:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_NONE:
    case LIBSSH2_ERROR_BAD_SOCKET:
    case LIBSSH2_ERROR_INVALID_MAC:
    case LIBSSH2_ERROR_DECRYPT:
    case LIBSSH2_ERROR_ENCRYPT:
    case LIBSSH2_ERROR_PROTO:
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
    case LIBSSH2_ERROR_TIMEOUT:
    case LIBSSH2_ERROR_ALLOC:
    case LIBSSH2_ERROR_OUT_OF_BOUNDARY:
    case LIBSSH2_ERROR_ZLIB:
    case LIBSSH2_ERROR_COMPRESS: return true;
    default: return false;
  }
}

core::Error Transport::lost_error(const std::string& why) const {
  core::Error error{.kind = "ssh.lost",
                    .message = "connection to " + host_ + " lost: " + why,
                    .hint = "what was running there may have ended or may still run: look before repeating it",
                    .host = host_};
  if (carrier_ && carrier_->failure()) return core::wrap(std::move(error), *carrier_->failure());
  return error;
}

}  // namespace deployrun::ssh
