#include "lock/fence.hpp"

#include <sys/random.h>

#include <cerrno>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "core/time.hpp"

namespace deployrun::lock {

namespace {

constexpr std::string_view kFence = "fence-";
constexpr std::string_view kSession = "session-";
constexpr core::Milliseconds kEndTimeout{5000};
constexpr core::Milliseconds kEndPause{100};

std::string named(std::string_view prefix, std::uint64_t number) {
  return std::string(prefix) + std::to_string(number);
}

core::Error stale(std::uint64_t token, std::uint64_t admitted) {
  core::Error error{.kind = "lock.stale",
                    .message = "this deploy's lock was taken over: the host knows a later one (token " +
                               std::to_string(admitted) + ", this is " + std::to_string(token) + ")"};
  error.hint = "look at what is deployed before anything else";
  error.details["token"] = static_cast<std::int64_t>(token);
  error.details["admitted"] = static_cast<std::int64_t>(admitted);
  return error;
}

core::Error unknown_connection(std::uint64_t token) {
  core::Error error{.kind = "lock.fence",
                    .message = "an earlier deploy (token " + std::to_string(token) +
                               ") is still connected, and which process carries its connection is not known"};
  error.hint = "the host's SSH server is not OpenSSH: end that deploy by hand, then deploy again";
  return error;
}

}  // namespace

Fence::Session::Session(Folder folder, std::string name, HeldFile file)
    : folder_(std::move(folder)), name_(std::move(name)), file_(std::move(file)) {}

Fence::Session::Session(Session&& other) noexcept
    : folder_(std::move(other.folder_)), name_(std::exchange(other.name_, {})), file_(std::move(other.file_)) {}

Fence::Session::~Session() {
  if (!name_.empty()) folder_.remove(name_);
}

void Fence::Session::leave() noexcept { name_.clear(); }

core::Result<Fence> Fence::open(const std::string& folder) {
  auto opened = Folder::open(folder);
  if (!opened) return std::move(opened).error();
  return Fence(std::move(opened).value());
}

core::Result<std::uint64_t> Fence::token() const { return folder_.highest(kFence); }

core::Result<Fence::Session> Fence::add_session(std::uint64_t token, const Carrier& carrier) const {
  const std::string text =
      std::to_string(token) + " " + std::to_string(carrier.pid) + " " + std::to_string(carrier.started) + "\n";
  for (;;) {
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) {
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    std::string name = named(kSession, number | 1U);
    auto file = folder_.add(name, text, true);
    if (!file) return std::move(file).error();
    if (*file) return Session(folder_, std::move(name), std::move(**file));
  }
}

core::Result<core::Unit> Fence::raise_to(std::uint64_t token) const {
  auto now = this->token();
  if (!now) return std::move(now).error();
  if (*now < token) {
    auto added = folder_.add(named(kFence, token), {}, false);
    if (!added) return std::move(added).error();
    now = this->token();
    if (!now) return std::move(now).error();
  }
  if (*now > token) {
    folder_.remove(named(kFence, token));
    return stale(token, *now);
  }
  folder_.remove_below(kFence, token);
  return core::Unit{};
}

/// A session whose connection nobody can end, because nobody knows it, has to end by itself.
core::Result<core::Unit> Fence::await_end(const std::string& name, std::uint64_t token) const {
  for (auto waited = core::Milliseconds(0); waited < kEndTimeout; waited += kEndPause) {
    const auto seen = folder_.look(name);
    if (!seen) return seen.error();
    if (!*seen || !(*seen)->alive) return core::Unit{};
    std::this_thread::sleep_for(kEndPause);
  }
  return unknown_connection(token);
}

core::Result<core::Unit> Fence::end_lower(std::uint64_t token, const Carrier& own) const {
  const auto sessions = folder_.numbers(kSession);
  if (!sessions) return sessions.error();
  for (const std::uint64_t number : *sessions) {
    const auto seen = folder_.look(named(kSession, number));
    if (!seen) return seen.error();
    if (!*seen) continue;
    std::istringstream words((*seen)->text);
    std::uint64_t other = 0;
    Carrier carrier;
    if (!(words >> other >> carrier.pid >> carrier.started) || other >= token) continue;
    const bool is_own = carrier.pid == own.pid && carrier.started == own.started;  // it came back with a higher token
    // Its agent may have ended and its connection not.
    if (carrier.pid > 1 && !is_own) {
      if (auto ended = end_carrier(carrier); !ended) return ended;
    } else if (carrier.pid <= 1) {
      if (auto ended = await_end(named(kSession, number), other); !ended) return ended;
    }
    folder_.remove(named(kSession, number));
  }
  return core::Unit{};
}

core::Result<Fence::Session> Fence::admit(std::uint64_t token, const Carrier& carrier) const {
  // The session first, the fence after it: of two that come at once either the later one finds the session of the
  // earlier, or the earlier one finds the later one's fence.
  auto session = add_session(token, carrier);
  if (!session) return session;
  if (auto raised = raise_to(token); !raised) return std::move(raised).error();
  if (auto ended = end_lower(token, carrier); !ended) return std::move(ended).error();
  return session;
}

}  // namespace deployrun::lock
