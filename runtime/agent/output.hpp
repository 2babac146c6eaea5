// Lines to stdout from many threads. One thread writes, so that a peer that does not read holds up no heartbeat.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <string>

namespace deployrun::agent {

class Output {
 public:
  /// `fd` is written to; `broken` gets a byte when that fails.
  Output(int fd, int broken);

  /// Takes a line without its end. A worker waits while more than 64 MiB are not written yet; the thread that reads
  /// requests may not wait.
  void push(std::string line, bool may_wait);

 private:
  void write_all();

  static constexpr std::size_t kMostWaiting = 64U << 20U;
  int fd_;
  int broken_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  std::size_t waiting_ = 0;  // bytes
};

}  // namespace deployrun::agent
