#include "ssh/listeners.hpp"

#include <openssl/rand.h>

#include <algorithm>

namespace deployrun::ssh {
namespace {

constexpr int kWaiting = 128;  // connections that wait for us to take them in; more are refused
constexpr int kGuesses = 8;

unsigned random_port() {
  unsigned char bytes[2] = {0, 0};
  RAND_bytes(bytes, sizeof bytes);
  return 20000U + (bytes[0] * 256U + bytes[1]) % 40000U;
}

}  // namespace

struct Listeners::Entry {
  std::string host;
  unsigned port = 0;
  Opened opened;
  Accepted accepted;
  bool guess = false;  // the port is ours to choose
  int guesses = 0;
  std::uint64_t old = 0;  // answers in libssh2's queue that belong to earlier questions
  LIBSSH2_LISTENER* raw = nullptr;
  bool released = false;
};

Listeners::Listeners(Session& session) : session_(session) { session_.transport().add(this); }
Listeners::~Listeners() { session_.transport().remove(this); }

std::shared_ptr<void> Listeners::open(std::string host, unsigned port, Opened opened, Accepted accepted) {
  auto entry = std::make_shared<Entry>();
  entry->host = std::move(host);
  entry->port = port;
  entry->opened = std::move(opened);
  entry->accepted = std::move(accepted);
  if (const auto& over = session_.transport().over()) {
    session_.loop().defer([weak = std::weak_ptr<Entry>(entry), error = *over] {
      const auto live = weak.lock();
      if (live && live->opened) live->opened(error);
    });
    return entry;
  }
  waiting_.push_back(entry);
  session_.transport().pump_later();
  return {static_cast<void*>(entry.get()), [entry, transport = session_.transport().weak_from_this()](void*) {
            entry->released = true;
            entry->opened = nullptr;
            entry->accepted = nullptr;
            if (const auto living = transport.lock()) living->pump_later();
          }};
}

bool Listeners::progress() {
  const std::weak_ptr<bool> living = alive_;
  bool moved = false;
  while (current_ || ask_next()) {
    if (!ask()) break;
    moved = true;
    if (living.expired() || !session_.alive()) return true;
  }
  const auto entries = open_;  // whoever is served may open and release others
  for (const auto& entry : entries) {
    moved = serve(*entry) || moved;
    if (living.expired() || !session_.alive()) return true;
  }
  open_.erase(std::remove_if(open_.begin(), open_.end(), [](const auto& entry) { return entry->raw == nullptr; }),
              open_.end());
  return moved;
}

bool Listeners::ask_next() {
  while (!waiting_.empty() && !current_) {
    const auto entry = waiting_.front();
    waiting_.pop_front();
    if (entry->released) continue;
    current_ = entry;
    entry->old = session_.transport().unread_replies();
    // With old answers in the queue the server's choice of a port could not be told from them.
    entry->guess = entry->port == 0 && entry->old > 0;
    if (entry->guess) entry->port = random_port();
    session_.transport().ask();
  }
  return current_ != nullptr;
}

/// True when it was answered.
bool Listeners::ask() {
  Transport& transport = session_.transport();
  Entry& entry = *current_;
  int bound = 0;
  LIBSSH2_LISTENER* raw = libssh2_channel_forward_listen_ex(transport.raw(), entry.host.c_str(),
                                                            static_cast<int>(entry.port), &bound, kWaiting);
  if (raw != nullptr) {
    entry.raw = raw;
    if (entry.port == 0) entry.port = static_cast<unsigned>(bound);
    answered(entry.port);
    return true;
  }
  const int code = libssh2_session_last_errno(transport.raw());
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (Transport::fatal(code)) {
    transport.fail(transport.last_error("ssh.lost", "connection to " + session_.host() + " lost"));
    return true;
  }
  // The server's answers to our probes stay in libssh2's queue (1.11.1) and all say no: as many as there are come
  // before ours. Each repetition puts one more behind it, since the port is taken by then.
  if (entry.old > 0) {
    --entry.old;
    return true;
  }
  if (entry.guess && ++entry.guesses < kGuesses) {
    entry.port = random_port();
    entry.old = transport.unread_replies();
    return true;
  }
  core::Error error{
      .kind = "ssh.forward_listen",
      .message = session_.host() + " does not listen on " + entry.host + ":" + std::to_string(entry.port) + " for us",
      .hint =
          "the port may be in use there, below 1024, or the server's AllowTcpForwarding or "
          "PermitListen forbids it",
      .host = session_.host()};
  answered(std::move(error));
  return true;
}

void Listeners::answered(core::Result<unsigned> port) {
  const auto entry = std::exchange(current_, nullptr);
  if (entry->raw != nullptr) open_.push_back(entry);
  if (const auto opened = std::exchange(entry->opened, nullptr)) opened(std::move(port));
}

bool Listeners::serve(Entry& entry) {
  if (entry.raw == nullptr) return false;
  if (entry.released) {
    if (libssh2_channel_forward_cancel(entry.raw) == LIBSSH2_ERROR_EAGAIN) return false;
    entry.raw = nullptr;
    return true;
  }
  bool moved = false;
  const std::weak_ptr<bool> living = alive_;
  while (!entry.released) {
    LIBSSH2_CHANNEL* channel = libssh2_channel_forward_accept(entry.raw);
    if (channel == nullptr) break;
    moved = true;
    const auto accepted = entry.accepted;  // it may release itself
    accepted(std::make_unique<Channel>(session_.shared_from_this(), channel, false));
    if (living.expired() || !session_.alive()) return true;
  }
  return moved;
}

void Listeners::lost(const core::Error& error) {
  const std::weak_ptr<bool> living = alive_;
  open_.clear();
  if (current_) waiting_.push_front(std::exchange(current_, nullptr));
  while (!living.expired() && !waiting_.empty()) {
    const auto entry = waiting_.front();
    waiting_.pop_front();
    if (const auto opened = std::exchange(entry->opened, nullptr)) opened(error);
  }
}

}  // namespace deployrun::ssh
