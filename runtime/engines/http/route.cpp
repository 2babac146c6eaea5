#include "http/route.hpp"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

namespace deployrun::http {

namespace {

bool is_own(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == ::getpid();
}

/// The user's own folder where there is one. Others cannot use a socket in /tmp either: see is_own.
std::string fresh_path() {
  std::array<unsigned char, 16> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    throw std::system_error(errno, std::generic_category(), "getrandom");
  }
  std::string name = "/.deployrun-";
  for (const unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4U];
    name += "0123456789abcdef"[byte & 15U];
  }
  constexpr std::size_t kRoom = sizeof(sockaddr_un::sun_path) - 1;
  for (const char* variable : {"XDG_RUNTIME_DIR", "TMPDIR"}) {
    const char* folder = std::getenv(variable);
    if (folder != nullptr && ::access(folder, W_OK) == 0 && std::strlen(folder) + name.size() <= kRoom)
      return folder + name;
  }
  return "/tmp" + name;
}

}  // namespace

Route::Route(core::Loop& loop, core::Dial dial, std::size_t spares)
    : loop_(loop), dial_(std::move(dial)), wanted_spares_(spares), path_(fresh_path()) {}

Route::~Route() { close_door(); }

int Route::expect_connection() {
  if (door_ < 0 && !open_door()) return -1;
  const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client >= 0) ++expected_;
  return client;
}

bool Route::open_door() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  door_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (door_ < 0) return false;
  if (::bind(door_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(std::exchange(door_, -1));
    return false;
  }
  ::listen(door_, SOMAXCONN);
  poll_ = new uv_poll_t;
  uv_poll_init(loop_.raw(), poll_, door_);
  poll_->data = this;
  uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* handle, int, int) { static_cast<Route*>(handle->data)->accept(); });
  return true;
}

void Route::close_door() noexcept {
  if (door_ < 0) return;
  ::unlink(path_.c_str());
  uv_poll_stop(poll_);
  core::close_handle(std::exchange(poll_, nullptr));
  ::close(std::exchange(door_, -1));
  expected_ = 0;
}

void Route::accept() {
  std::vector<int> arrived;
  while (door_ >= 0) {
    const int socket = ::accept4(door_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) break;
    if (!is_own(socket)) {
      ::close(socket);
      continue;
    }
    arrived.push_back(socket);
    if (--expected_ == 0) close_door();
  }
  // A dial may destroy this route.
  const std::weak_ptr<bool> alive = alive_;
  for (const int socket : arrived) {
    if (alive.expired()) {
      ::close(socket);
      continue;
    }
    serve(socket);
  }
}

void Route::serve(int socket) {
  if (!spares_.empty()) {
    core::Bridge* const ready = spares_.front();
    spares_.pop_front();
    const std::weak_ptr<bool> alive = alive_;
    ready->attach(socket);  // may read, and with that destroy this route
    if (!alive.expired()) prepare_spares();
    return;
  }
  core::Bridge& bridge = add_bridge();
  bridge.attach(socket);
  // Over SSH one channel opens after the other: those that are wanted now go ahead of the spares.
  bridge.dial(followed([this](bool opened) {
    if (opened) prepare_spares();
  }));
}

/// One after the other, so that whoever wants a connection meanwhile waits for one dial at most.
void Route::prepare_spares() {
  if (preparing_ != nullptr || spares_.size() >= wanted_spares_) return;
  preparing_ = &add_bridge();
  spares_.push_back(preparing_);
  preparing_->dial(followed([this](bool opened) {
    preparing_ = nullptr;
    if (opened) prepare_spares();
  }));
}

/// The dial, and what comes after it as long as this route is there.
core::Dial Route::followed(std::function<void(bool opened)> then) {
  return [this, alive = std::weak_ptr<bool>(alive_), then = std::move(then)](auto done) {
    return dial_([alive, then, done = std::move(done)](core::Result<std::unique_ptr<core::Stream>> stream) {
      const bool opened = stream.ok();
      const auto there = alive;  // what holds this function may end with the answer
      const auto next = then;
      done(std::move(stream));
      if (!there.expired()) next(opened);
    });
  };
}

core::Bridge& Route::add_bridge() {
  ++dials_;
  bridges_.push_back(std::make_unique<core::Bridge>(
      loop_, core::Bridge::Ends::either, [this](core::Bridge& over, std::optional<core::Error> error, bool dialled) {
        ended(over, std::move(error), dialled);
      }));
  return *bridges_.back();
}

void Route::ended(core::Bridge& bridge, std::optional<core::Error> error, bool dialled) {
  ++ended_;
  // What becomes of a spare concerns no request; one that finds none dials for itself and sees why.
  const bool unused = std::erase(spares_, &bridge) > 0;
  if (preparing_ == &bridge) preparing_ = nullptr;
  if (error && !unused) {
    failed_at_ = ended_;
    failure_ = Failure{std::move(*error), dialled};
  }
  // The bridge calls from inside its own work, or its stream's: it dies on the next turn.
  loop_.defer([this, &bridge, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) bridges_.remove_if([&bridge](const auto& one) { return one.get() == &bridge; });
  });
}

std::optional<Route::Failure> Route::failure_since(std::uint64_t since) const {
  if (!failure_ || failed_at_ <= since) return {};
  return failure_;
}

}  // namespace deployrun::http
