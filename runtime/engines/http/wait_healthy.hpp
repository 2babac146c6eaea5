// Asks again until an address is healthy, or tells the whole story of why it is not.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <random>

#include "http/call.hpp"
#include "http/expect.hpp"
#include "http/history.hpp"

namespace deployrun::http {

struct Patience {
  core::Milliseconds interval{100};  ///< between attempts at first, and between successes that must follow each other
  /// Instead, from the beginning of one refused attempt to the next: the app does not notice, and a long way to it is
  /// pause enough.
  core::Milliseconds refused_interval{25};
  core::Milliseconds max_interval{2000};
  double share = 0.1;  ///< of the time waited so far, between attempts: nobody waits much longer than it takes
  double refused_share = 0.025;  ///< instead, after a refused connection
  double jitter = 0.2;           ///< each pause is up to this share shorter or longer
  int successes = 1;             ///< in a row
  core::Milliseconds attempt_timeout{5000};
  std::optional<core::Milliseconds>
      within;              ///< in all; without it only the task's deadline ends the waiting, storyless
  std::uint32_t seed = 0;  ///< of the jitter; 0: from the machine
  /// Hears of each attempt that failed: its number, what came back in one line, and how long that took.
  std::function<void(std::uint64_t attempt, const std::string& outcome, double ms)> on_failure;
};

struct Healthy {
  Reply reply;
  std::uint64_t attempts = 0;
  double ms = 0;
  std::string history;  ///< History::text
};

/// Fails with `http.unhealthy` (details `attempts`, `ms`, `first`, `last`, `history`, and `status` of the last answer,
/// 0 for none), `cancelled`, or `usage` at once for a request that cannot be sent.
class WaitHealthy final : public core::Operation<Healthy> {
 public:
  WaitHealthy(Client& client, Request request, Expectation expectation, Patience patience);
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void attempt();
  void answered(core::Result<Reply> reply);
  void failed(std::string text, core::Milliseconds wait);
  core::Milliseconds delay(core::Milliseconds interval, double share) const;
  void pause(core::Milliseconds delay);
  void give_up();
  void finish(core::Result<Healthy> result);
  double elapsed_ms() const;

  Client& client_;
  Request request_;
  Expectation expectation_;
  Patience patience_;
  Done done_;
  core::Timer pause_timer_;
  core::Timer attempt_timer_;
  core::Timer deadline_timer_;
  std::unique_ptr<Call> call_;
  core::Instant begun_;
  core::Instant asked_;
  std::minstd_rand random_;
  History history_;
  int in_a_row_ = 0;
  int last_status_ = 0;
  bool asking_ = false;
};

}  // namespace deployrun::http
