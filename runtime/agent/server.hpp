// The agent's life: reads requests, hands each to a thread, keeps deadlines and the lease. Nothing outlives it: with
// the end of its input or of its lease every transaction is rolled back and every lock is free.
#pragma once

#include <array>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "output.hpp"
#include "requests.hpp"

namespace deployrun::agent {

class Server {
 public:
  static constexpr int kEnded = 0;       ///< the input's end
  static constexpr int kLeaseOver = 75;  ///< nobody was heard for too long

  explicit Server(core::Milliseconds lease);
  /// Serves stdin and stdout to the end; the exit code.
  int run();

 private:
  struct Request {
    std::int64_t id = 0;
    std::string method;
    Json params;
    core::Instant deadline = core::Instant::max();
    Cancellation cancellation;
  };

  int read_all();
  void take(std::string_view bytes);
  void take_line(std::string_view line);
  void take_request(const Json& message);
  void begin(const std::shared_ptr<Request>& request);
  void finish(const std::shared_ptr<Request>& request, core::Result<Json> result);
  void refuse(const Json& id, const core::Error& error);
  core::Result<Json> hello(const Json& params) const;
  void cancel(const Json& params);
  core::Instant end_late(core::Instant now);
  void end();

  core::Milliseconds lease_;
  std::array<int, 2> broken_{-1, -1};
  std::unique_ptr<Output> output_;
  Requests requests_;
  std::string open_;       // a line whose end has not come
  bool too_long_ = false;  // it is being skipped
  std::mutex mutex_;
  std::condition_variable ended_;
  std::map<std::int64_t, std::shared_ptr<Request>> running_;
};

}  // namespace deployrun::agent
