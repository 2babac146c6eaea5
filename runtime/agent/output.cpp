#include "output.hpp"

#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>

namespace deployrun::agent {

// Ends with the process: whoever reads may never read again.
Output::Output(int fd, int broken) : fd_(fd), broken_(broken) {
  std::thread([this] { write_all(); }).detach();
}

void Output::push(std::string line, bool may_wait) {
  line += '\n';
  std::unique_lock lock(mutex_);
  if (may_wait) changed_.wait(lock, [this] { return waiting_ < kMostWaiting; });
  waiting_ += line.size();
  lines_.push_back(std::move(line));
  changed_.notify_all();
}

void Output::write_all() {
  for (;;) {
    std::string line;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !lines_.empty(); });
      line = std::move(lines_.front());
      lines_.pop_front();
    }
    for (std::size_t at = 0; at < line.size();) {
      const ssize_t count = ::write(fd_, line.data() + at, line.size() - at);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        [[maybe_unused]] const ssize_t ignored = ::write(broken_, "x", 1);
        return;
      }
      at += static_cast<std::size_t>(count);
    }
    const std::lock_guard lock(mutex_);
    waiting_ -= line.size();
    changed_.notify_all();
  }
}

}  // namespace deployrun::agent
