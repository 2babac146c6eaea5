#include "report/output.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace deployrun::report {

namespace {

constexpr core::Milliseconds kRetry{10};
// A pipe that poll(2) calls writable takes this much without blocking (pipe(7)).
constexpr std::size_t kChunk = PIPE_BUF;

}  // namespace

Output::Output(core::Loop& loop, int fd, std::size_t limit)
    : loop_(loop), fd_(fd), limit_(limit), retry_(loop), self_(std::make_shared<Output*>(this)) {}

Output::~Output() { *self_ = nullptr; }

void Output::write(std::string_view lines, bool keep) {
  if (closed_) return;
  if (!keep && buffer_.size() + lines.size() > limit_) {
    dropped_ += static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n'));
    return;
  }
  if (dropped_ != 0) {
    if (note_) buffer_ += note_(dropped_);
    dropped_ = 0;
  }
  buffer_ += lines;
  if (scheduled_ || retry_.active()) return;
  scheduled_ = true;
  // Once per turn of the loop: events come in bunches.
  loop_.defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->scheduled_ = false;
    (*self)->pump();
  });
}

bool Output::write_some() {
  pollfd look{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (::poll(&look, 1, 0) <= 0) return false;
  if ((look.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0) {
    const ssize_t sent = ::write(fd_, buffer_.data(), std::min(buffer_.size(), kChunk));
    if (sent >= 0) {
      buffer_.erase(0, static_cast<std::size_t>(sent));
      return true;
    }
    if (errno == EAGAIN || errno == EINTR) return false;
  }
  closed_ = true;  // nobody reads any more, or the disk below is full: the run goes on
  buffer_.clear();
  return true;
}

void Output::pump() {
  while (!buffer_.empty()) {
    if (!write_some()) {
      retry_.start(kRetry, [this] { pump(); });
      break;
    }
  }
  if (dropped_ != 0 && buffer_.empty() && note_) write({});
  wake();
}

void Output::wake() {
  while (!waiting_.empty() && !full()) {
    Drained* next = waiting_.front();
    waiting_.pop_front();
    auto done = std::move(next->done_);
    next->done_ = nullptr;
    done(core::Unit{});
  }
}

bool Output::flush(core::Milliseconds limit) {
  const auto end = core::Loop::now() + limit;
  while (!buffer_.empty()) {
    if (write_some()) continue;
    const auto left = std::chrono::duration_cast<core::Milliseconds>(end - core::Loop::now());
    if (left.count() <= 0) return false;
    pollfd look{.fd = fd_, .events = POLLOUT, .revents = 0};
    ::poll(&look, 1, static_cast<int>(left.count()));
  }
  return !closed_;
}

void Output::Drained::start(Done done) {
  if (!output_.full()) return done(core::Unit{});
  done_ = std::move(done);
  output_.waiting_.push_back(this);
}

void Output::Drained::cancel() noexcept {
  if (!done_) return;
  leave();
  auto done = std::move(done_);
  done_ = nullptr;
  done(core::cancelled());
}

void Output::Drained::leave() noexcept {
  auto& waiting = output_.waiting_;
  waiting.erase(std::remove(waiting.begin(), waiting.end(), this), waiting.end());
}

}  // namespace deployrun::report
