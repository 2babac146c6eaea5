#include "ssh/session.hpp"

#include <algorithm>

#include "ssh/listeners.hpp"
#include "ssh/remote_command.hpp"
#include "ssh/streams.hpp"

namespace deployrun::ssh {
namespace {

/// Session channels may carry downloads: the window is what can be under way in one round trip. What is queued while
/// nobody reads is bounded by it.
constexpr unsigned kSessionWindow = 8U << 20U;
constexpr core::Milliseconds kRest{50};
constexpr int kRefusals = 3;

}  // namespace

Channel::~Channel() { session_->retire(raw_, slot_, use_); }
Transport& Channel::transport() noexcept { return session_->transport(); }

ssize_t Channel::write(const char* bytes, std::size_t size) noexcept {
  if (!again_ && has_enough()) return LIBSSH2_ERROR_EAGAIN;
  const ssize_t count = libssh2_channel_write(raw_, bytes, size);
  again_ = count == LIBSSH2_ERROR_EAGAIN;
  return count;
}

bool Channel::has_enough() noexcept {
  if (!limited_ || !transport().is_openssh()) return false;
  const std::size_t left = libssh2_channel_window_write(raw_);
  window_ = std::max(window_, left);
  const double trip = std::chrono::duration<double>(transport().round_trip_time()).count();
  if (static_cast<double>(window_ - left) < static_cast<double>(kBacklog) + trip * kFastLine) {
    enough_since_.reset();
    return false;
  }
  const core::Instant now = core::Loop::now();
  if (!enough_since_) enough_since_ = now;
  limited_ = now - *enough_since_ < kPatience;
  return limited_;
}

std::shared_ptr<Session> Session::create(std::shared_ptr<Transport> transport) {
  return std::shared_ptr<Session>(new Session(std::move(transport)));
}

Session::Session(std::shared_ptr<Transport> transport) : transport_(std::move(transport)), retry_(transport_->loop()) {
  transport_->add(this);
  transport_->keep_alive();
  transport_->pump_later();
}

Session::~Session() {
  transport_->remove(this);
  transport_->close({.kind = "ssh.closed", .message = "the connection to " + host() + " is closed", .host = host()});
}

void Session::close() {
  const auto self = shared_from_this();
  transport_->close({.kind = "ssh.closed", .message = "the connection to " + host() + " was closed", .host = host()});
}

std::shared_ptr<void> Session::open_channel(Destination destination, Opened opened, Use use) {
  auto request = std::make_shared<Request>();
  request->use = use;
  request->destination = std::move(destination);
  request->opened = std::move(opened);
  if (transport_->over()) {
    loop().defer([weak = std::weak_ptr<Request>(request), error = *transport_->over()] {
      const auto live = weak.lock();
      if (live && live->opened) live->opened(error);
    });
    return request;
  }
  if (request->destination.kind == Destination::Kind::session) wanted_ = true;
  // An opening under way for nobody in particular serves as well as one of its own.
  if (request->destination.kind == Destination::Kind::session && current_ && !current_->opened &&
      current_->destination.kind == Destination::Kind::session && waiting_.empty()) {
    current_->opened = std::move(request->opened);
    current_->use = use;
    request = current_;
  } else {
    waiting_.insert(use == Use::urgent ? waiting_.begin() : waiting_.end(), request);
    transport_->pump_later();
  }
  // The token holds the request by way of a guard, so that giving it up is seen here.
  return {static_cast<void*>(request.get()), [request](void*) { request->opened = nullptr; }};
}

bool Session::room(const Request& request) const noexcept {
  const std::size_t reserve = request.use == Use::urgent && limit_ == kChannelLimit ? 2 : 0;
  return used_ < limit_ + reserve && !resting_;
}

/// Every session that the server allows is a lasting one.
bool Session::hopeless() const noexcept { return lasting_ > 0 && limit_ <= lasting_ && !resting_; }

void Session::prepare_commands(std::size_t count) {
  ahead_ = count;
  if (alive()) transport_->pump_later();
}

/// What is open already is had at once, whatever is being opened for others.
bool Session::hand_out() {
  bool moved = false;
  for (auto at = waiting_.begin(); at != waiting_.end() && !spares_.empty();) {
    const auto taken = *at;
    if (!taken->opened || taken->destination.kind != Destination::Kind::session) {
      ++at;
      continue;
    }
    waiting_.erase(at);
    LIBSSH2_CHANNEL* raw = spares_.front();
    spares_.pop_front();
    moved = true;
    const auto opened = std::exchange(taken->opened, nullptr);
    if (taken->use == Use::lasting) ++lasting_;
    opened(std::make_unique<Channel>(shared_from_this(), raw, true, taken->use));
    if (!alive()) break;
    at = waiting_.begin();  // whoever was served may have asked again
  }
  return moved;
}

bool Session::pick() {
  if (ahead_ > 0 && streams_ && pick_spare(true)) {
    --ahead_;
    return true;
  }
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    Request& request = **at;
    if (!request.opened) {
      at = waiting_.erase(at);
      continue;
    }
    const bool session = request.destination.kind == Destination::Kind::session;
    if (session && hopeless()) {
      const auto request_there = *at;
      waiting_.erase(at);
      std::exchange(request_there->opened, nullptr)(taken());
      if (!alive()) return false;
      at = waiting_.begin();
      continue;
    }
    if (session && !room(request)) {
      ++at;
      continue;
    }
    current_ = *at;
    waiting_.erase(at);
    transport_->ask();
    if (session) ++used_;
    return true;
  }
  return wanted_ && spares_.empty() && pick_spare(false);
}

bool Session::pick_spare(bool ahead) {
  auto spare = std::make_shared<Request>();
  if (!room(*spare)) return false;
  spare->ahead = ahead;
  current_ = std::move(spare);
  ++used_;
  return true;
}

LIBSSH2_CHANNEL* Session::try_open(const Destination& destination) {
  switch (destination.kind) {
    case Destination::Kind::session:
      return libssh2_channel_open_ex(transport_->raw(), "session", 7, kSessionWindow, LIBSSH2_CHANNEL_PACKET_DEFAULT,
                                     nullptr, 0);
    case Destination::Kind::streamlocal:
      return libssh2_channel_direct_streamlocal_ex(transport_->raw(), destination.name.c_str(), "localhost", 0);
    case Destination::Kind::tcp:
      return libssh2_channel_direct_tcpip_ex(transport_->raw(), destination.name.c_str(),
                                             static_cast<int>(destination.port), "127.0.0.1", 0);
  }
  return nullptr;
}

bool Session::progress() {
  const auto self = weak_from_this().lock();  // whoever is served may drop the session
  if (!self) return false;
  bool moved = hand_out();
  while (alive() && (current_ || pick())) {
    if (LIBSSH2_CHANNEL* raw = try_open(current_->destination); raw != nullptr) {
      deliver(raw);
      hand_out();
      moved = true;
      continue;
    }
    const int code = libssh2_session_last_errno(transport_->raw());
    if (code == LIBSSH2_ERROR_EAGAIN) break;
    moved = true;
    if (Transport::fatal(code)) {
      transport_->fail(transport_->last_error("ssh.lost", "connection to " + host() + " lost"));
      break;
    }
    refused();
  }
  return moved;
}

void Session::deliver(LIBSSH2_CHANNEL* raw) {
  const auto request = std::exchange(current_, nullptr);
  const bool session = request->destination.kind == Destination::Kind::session;
  if (session) {
    most_ = std::max(most_, used_);
  } else {
    streams_ = true;
  }
  if (request->opened) {
    const auto opened = std::exchange(request->opened, nullptr);
    if (request->use == Use::lasting) ++lasting_;
    opened(std::make_unique<Channel>(shared_from_this(), raw, session, request->use));
  } else if (session && (request->ahead || spares_.empty())) {
    spares_.push_back(raw);
  } else {
    retire(raw, session, Use::usual);
  }
}

void Session::refused() {
  const auto request = std::exchange(current_, nullptr);
  if (request->destination.kind == Destination::Kind::session) {
    const std::size_t others = --used_;
    // A channel just closed may still count at the server: as many as before must be possible again.
    const bool passing = others == 0 || others < most_;
    if (passing) {
      resting_ = true;
      retry_.start(kRest, [this] {
        resting_ = false;
        transport_->pump();
      });
    } else {
      limit_ = others;
    }
    if (!request->opened) return;
    if (hopeless()) return std::exchange(request->opened, nullptr)(taken());
    if (others > 0 || ++request->refusals < kRefusals) {
      waiting_.push_front(request);
      return;
    }
  }
  const auto opened = std::exchange(request->opened, nullptr);
  if (opened) opened(refusal(*request));
}

core::Error Session::taken() const {
  const std::string count = limit_ == 1 ? "the one session" : "the " + std::to_string(limit_) + " sessions";
  return {.kind = "ssh.channel",
          .message = "open a session on " + host() + ": " + count + " that the server allows at once " +
                     (limit_ == 1 ? "is" : "are") + " in use as long as the connection lasts",
          .hint =
              "the agent, which keeps the deploy lock, has one: raise MaxSessions in the server's sshd_config; two "
              "are enough",
          .host = host()};
}

core::Error Session::refusal(const Request& request) const {
  const Destination& to = request.destination;
  switch (to.kind) {
    case Destination::Kind::session: {
      auto error = transport_->last_error("ssh.channel", "open a session on " + host());
      error.hint = "the server's MaxSessions may be 0 or used up by others";
      return error;
    }
    case Destination::Kind::streamlocal: {
      // OpenSSH gives one reason for a forbidden forwarding and for a socket nobody listens on.
      auto error = transport_->last_error("ssh.forwarding_refused", "connect to " + to.name + " on " + host());
      error.hint = "either nothing listens there or the server's AllowStreamLocalForwarding is off";
      return error;
    }
    case Destination::Kind::tcp: break;
  }
  auto error = transport_->last_error("ssh.forward_connect",
                                      "connect to " + to.name + ":" + std::to_string(to.port) + " from " + host());
  if (error.message.find("prohibited") != std::string::npos || error.message.find("unknown") != std::string::npos) {
    error.kind = "ssh.forwarding_refused";
    error.hint = "the server's AllowTcpForwarding or PermitOpen forbids it";
  }
  return error;
}

void Session::retire(LIBSSH2_CHANNEL* raw, bool slot, Use use) {
  if (use == Use::lasting) --lasting_;  // from now on its end is waited for
  transport_->retire(raw, [weak = weak_from_this(), slot] {
    const auto self = weak.lock();
    if (self && slot) --self->used_;
  });
}

void Session::lost(const core::Error& error) {
  const auto self = weak_from_this().lock();
  retry_.cancel();
  spares_.clear();
  if (current_) waiting_.push_front(std::exchange(current_, nullptr));
  while (!waiting_.empty()) {
    const auto request = waiting_.front();
    waiting_.pop_front();
    if (const auto opened = std::exchange(request->opened, nullptr)) opened(error);
  }
}

Listeners& Session::listeners() {
  if (!listeners_) listeners_ = std::make_unique<Listeners>(*this);
  return *listeners_;
}

void Session::end_group(long group) {
  if (!alive() || group <= 1) return;
  auto killer = std::make_unique<RemoteCommand>(shared_from_this(), CommandLine{kill_line(group), {}}, "", Use::urgent);
  RemoteCommand* raw = killer.get();
  killers_.push_back(std::move(killer));
  raw->start({.ended = [this, raw](const core::Result<Exit>&) {
    // Not destroyed from inside its own call.
    loop().defer([weak = weak_from_this(), raw] {
      if (const auto self = weak.lock()) self->killers_.remove_if([raw](const auto& one) { return one.get() == raw; });
    });
  }});
  raw->end_input();
}

}  // namespace deployrun::ssh
