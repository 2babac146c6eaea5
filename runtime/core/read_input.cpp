#include "core/read_input.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/secret.hpp"

namespace deployrun::core {

ReadInput::ReadInput(Loop& loop, int fd, std::size_t limit) : loop_(loop), fd_(fd), limit_(limit) {}

ReadInput::~ReadInput() {
  if (poll_ != nullptr) close_handle(poll_);
  wipe(bytes_);
}

void ReadInput::start(Done done) {
  done_ = std::move(done);
  if (::isatty(fd_) != 0) {
    Error error{.kind = "input.terminal", .message = "standard input is a terminal"};
    error.hint = "send it through a pipe or from a file: … < FILE";
    return finish(std::move(error));
  }
  bytes_.reserve(limit_ + 1);  // never moved: a copy of a secret would stay behind
  poll_ = new uv_poll_t;
  // epoll refuses what is always ready: files and /dev/null. Those never block.
  if (uv_poll_init(loop_.raw(), poll_, fd_) != 0) {
    delete std::exchange(poll_, nullptr);
    while (!take()) {
    }
    return;
  }
  poll_->data = this;
  uv_poll_start(poll_, UV_READABLE | UV_DISCONNECT,
                [](uv_poll_t* handle, int, int) { static_cast<ReadInput*>(handle->data)->take(); });
}

bool ReadInput::take() {
  std::array<char, 4096> piece{};
  pollfd look{.fd = fd_, .events = POLLIN, .revents = 0};
  if (::poll(&look, 1, 0) == 0) return false;  // somebody else was quicker
  const ssize_t size = ::read(fd_, piece.data(), piece.size());
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size < 0) {
    finish(Error{.kind = "input.read", .message = std::string("standard input: ") + std::strerror(errno)});
    return true;
  }
  if (size == 0) {
    finish(std::move(bytes_));
    return true;
  }
  bytes_.append(piece.data(), static_cast<std::size_t>(size));
  explicit_bzero(piece.data(), piece.size());
  if (bytes_.size() <= limit_) return false;
  finish(Error{.kind = "input.too_large", .message = "standard input: more than " + std::to_string(limit_) + " bytes"});
  return true;
}

void ReadInput::cancel() noexcept {
  if (done_) finish(cancelled("standard input: cancelled"));
}

void ReadInput::finish(Result<std::string> result) {
  if (poll_ != nullptr) close_handle(std::exchange(poll_, nullptr));
  const auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result));
}

}  // namespace deployrun::core
