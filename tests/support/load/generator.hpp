// The open-loop schedule: requests start when they are due, however long the earlier ones take, so that a stall of the
// server shows as many slow requests and not as fewer requests.

#pragma once

#include <curl/curl.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "options.hpp"
#include "record.hpp"
#include "request.hpp"

namespace lab_load {

class Generator {
 public:
  using Clock = std::chrono::steady_clock;
  using OnRecord = std::function<void(const Record&)>;

  /// `stop_fd` becomes readable when the run is to end early.
  Generator(const Options& options, int stop_fd, OnRecord on_record);
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;
  ~Generator();

  /// Issues requests until the duration is over, `stop_fd` is readable or whoever started this program is gone, then
  /// waits for those in flight; what has not ended after 15 s is recorded as failed. Throws when so many are under way
  /// that nobody keeps up any more.
  void run();
  /// Unix time of the first request and of the end of issuing, in milliseconds.
  [[nodiscard]] std::int64_t begin_ms() const { return begin_ms_; }
  [[nodiscard]] std::int64_t end_ms() const { return wall(end_); }

 private:
  /// One series of requests at equal distances.
  struct Series {
    std::chrono::nanoseconds every{0};  // 0: none
    Clock::time_point next;
  };

  void issue_due(Clock::time_point now);
  void start(Kind kind, Clock::time_point due);
  void collect();
  /// Lets libcurl work until `until` or something happens; true when asked to stop.
  bool turn(Clock::time_point until);
  Kind next_quick_kind();
  [[nodiscard]] std::int64_t wall(Clock::time_point at) const;

  const Options& options_;
  int stop_fd_;
  OnRecord on_record_;
  UploadBody upload_;
  curl_slist* headers_ = nullptr;
  CURLM* multi_;
  pid_t parent_;
  std::unordered_map<CURL*, std::unique_ptr<Request>> in_flight_;
  Series quick_;
  Series uploads_;
  Series slow_;
  std::size_t started_ = 0;
  double keepalive_debt_ = 0;
  Clock::time_point begin_;
  Clock::time_point end_;
  std::int64_t begin_ms_ = 0;
};

}  // namespace lab_load
