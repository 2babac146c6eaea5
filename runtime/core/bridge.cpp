#include "core/bridge.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace deployrun::core {

Bridge::Bridge(Loop& loop, Ends ends, Ended ended) : loop_(loop), ends_(ends), ended_(std::move(ended)) {}

Bridge::~Bridge() { release(); }

void Bridge::release() noexcept {
  alive_.reset();
  dialling_.reset();
  if (stream_) stream_->close();
  stream_.reset();
  if (poll_ != nullptr) {
    uv_poll_stop(poll_);
    close_handle(poll_);
    poll_ = nullptr;
    ::close(fd_);
  }
}

void Bridge::attach(int fd) {
  fd_ = fd;
  poll_ = new uv_poll_t;
  uv_poll_init(loop_.raw(), poll_, fd_);
  poll_->data = this;
  poll();
  if (flushed_ < inbound_.size()) flush();
}

void Bridge::dial(const Dial& dial) {
  std::weak_ptr<bool> alive = alive_;
  // The token is kept only while the dial is under way: a dial that answers at once has none left to cancel.
  auto token = dial([this, alive](Result<std::unique_ptr<Stream>> stream) {
    if (alive.expired()) return;
    dialled(std::move(stream));
  });
  if (!open_ && !over_) dialling_ = std::move(token);
}

void Bridge::join(std::unique_ptr<Stream> stream) { dialled(std::move(stream)); }

void Bridge::dialled(Result<std::unique_ptr<Stream>> stream) {
  if (!stream) return end(std::move(stream).error());
  open_ = true;
  stream_ = std::move(*stream);
  poll();
  receive();
}

void Bridge::poll() {
  if (over_ || poll_ == nullptr) return;
  int wanted = ends_ == Ends::either ? UV_DISCONNECT : 0;
  if (open_ && !writing_ && !socket_over_) wanted |= UV_READABLE;
  if (flushed_ < inbound_.size()) wanted |= UV_WRITABLE;
  if (wanted == events_) return;
  events_ = wanted;
  if (wanted == 0) {
    uv_poll_stop(poll_);
    return;
  }
  uv_poll_start(poll_, wanted, [](uv_poll_t* handle, int status, int events) {
    static_cast<Bridge*>(handle->data)->on_events(status, events);
  });
}

void Bridge::on_events(int status, int events) {
  if (status < 0) return end({});
  const std::weak_ptr<bool> alive = alive_;
  if ((events & UV_WRITABLE) != 0) flush();
  if (alive.expired() || over_) return;
  // Only where nobody half-closes: when that side is gone, nobody waits for an answer.
  if ((events & UV_DISCONNECT) != 0) return end({});
  if ((events & UV_READABLE) != 0) send();
}

void Bridge::send() {
  std::array<char, 65536> buffer;
  const ssize_t count = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count == 0) return socket_ended();
  if (count < 0) return end({});
  writing_ = true;
  std::weak_ptr<bool> alive = alive_;
  stream_->write(std::string(buffer.data(), static_cast<std::size_t>(count)), [this, alive](Result<Unit> written) {
    if (alive.expired() || over_) return;
    writing_ = false;
    if (!written) return end(std::move(written).error());
    poll();
  });
  if (!alive.expired()) poll();
}

void Bridge::receive() {
  if (receiving_) {
    again_ = true;
    return;
  }
  const std::weak_ptr<bool> alive = alive_;
  receiving_ = true;
  do {
    again_ = false;
    if (over_ || at_end_ || reading_ || !inbound_.empty()) break;
    reading_ = true;
    stream_->read([this, alive](Result<std::string> bytes) {
      if (alive.expired() || over_) return;
      reading_ = false;
      if (!bytes) return end(std::move(bytes).error());
      at_end_ = bytes->empty();
      inbound_ = std::move(*bytes);
      flush();
    });
    if (alive.expired()) return;
  } while (again_);
  receiving_ = false;
}

void Bridge::flush() {
  if (poll_ == nullptr && !at_end_) return;
  while (flushed_ < inbound_.size()) {
    const ssize_t count = ::send(fd_, inbound_.data() + flushed_, inbound_.size() - flushed_, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return poll();
      return end({});
    }
    flushed_ += static_cast<std::size_t>(count);
  }
  inbound_.clear();
  flushed_ = 0;
  if (at_end_) return stream_ended();
  poll();
  receive();
}

void Bridge::socket_ended() {
  socket_over_ = true;
  if (ends_ == Ends::either || stream_over_) return end({});
  stream_->end_write();
  poll();
}

void Bridge::stream_ended() {
  stream_over_ = true;
  if (ends_ == Ends::either || socket_over_) return end({});
  ::shutdown(fd_, SHUT_WR);
  poll();
}

void Bridge::end(std::optional<Error> error) {
  if (over_) return;
  over_ = true;
  // The reason is told before the other side of the socket can see the end and ask for it.
  ended_(*this, std::move(error), open_);
  if (poll_ == nullptr) return;
  ::shutdown(fd_, SHUT_RDWR);
  uv_poll_stop(poll_);
}

}  // namespace deployrun::core
