// Probes the public address at a steady rate while a release is switched: zero downtime is measured, not claimed.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "http/call.hpp"
#include "http/expect.hpp"
#include "http/histogram.hpp"

namespace deployrun::http {

struct ObserverOptions {
  double rate = 50;                  ///< requests per second, 0.1 … 1000; sent on time whether or not answers come
  double fresh = 0.5;                ///< share of requests on a connection of their own; the others are kept alive
  core::Milliseconds timeout{5000};  ///< of one request; no answer by then is a failure
};

struct Observation {
  struct Failure {
    double at_ms = 0;  ///< since the start, when it was noticed
    int status = 0;    ///< 0: no answer
    bool fresh = false;
    std::string reason;
  };
  static constexpr std::size_t kFirstFailures = 20;

  std::uint64_t requests = 0;  ///< that ended, well or not
  std::uint64_t failures = 0;
  std::uint64_t reused = 0;  ///< answered on a connection that was open already
  double ms = 0;
  double longest_gap_ms = 0;  ///< without a success, the time before the first and after the last included
  double gap_at_ms = 0;       ///< when that gap began
  double p50_ms = 0, p99_ms = 0, max_ms = 0;  ///< of the successes
  std::map<int, std::uint64_t> by_status;     ///< 0: no answer
  std::vector<Failure> first_failures;
};

/// Begins when made, ends with `stop` or when destroyed. Its memory does not grow with time.
class Observer : public std::enable_shared_from_this<Observer> {
 public:
  Observer(Client& client, Request request, Expectation expectation, ObserverOptions options);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// So far.
  Observation snapshot() const;
  /// No more requests; completes when those under way have ended. Once; a second one gets the same figures.
  std::unique_ptr<core::Operation<Observation>> stop();

 private:
  class Stop;
  struct Shot {
    std::unique_ptr<Call> call;
    core::Instant sent;
    bool fresh;
  };
  using Place = std::list<Shot>::iterator;

  void tick();
  void send(core::Instant now);
  void answered(Place place, core::Result<Reply> reply);
  void count_failure(int status, bool fresh, std::string reason);
  void success(core::Instant now);
  void begin_stop();
  void check_over();
  double since_start(core::Instant time) const;

  Client& client_;
  Request request_;
  Expectation expectation_;
  ObserverOptions options_;
  core::Timer timer_;
  core::Instant begun_;
  core::Instant last_success_;
  core::Instant stopped_at_;
  std::uint64_t sent_ = 0;
  double fresh_due_ = 0;
  std::list<Shot> shots_;  // oldest first
  Histogram latency_;
  Observation seen_;
  bool stopping_ = false;
  Stop* waiter_ = nullptr;
};

}  // namespace deployrun::http
