#include "http/observer.hpp"

#include <algorithm>
#include <cmath>

#include "core/duration.hpp"
#include "http/probe.hpp"

namespace deployrun::http {

namespace {

constexpr std::size_t kMaxInFlight = 2000;
constexpr std::uint64_t kBurst = 100;  // requests made up for in one turn, after the loop stood still

double milliseconds(core::Instant from, core::Instant to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

class Observer::Stop final : public core::Operation<Observation> {
 public:
  explicit Stop(std::shared_ptr<Observer> observer) : observer_(std::move(observer)) {}
  ~Stop() override {
    if (observer_->waiter_ == this) observer_->waiter_ = nullptr;
  }
  void start(Done done) override {
    done_ = std::move(done);
    observer_->waiter_ = this;
    observer_->begin_stop();
  }
  void cancel() noexcept override {
    if (!done_) return;
    observer_->waiter_ = nullptr;
    observer_->shots_.clear();
    tell(core::cancelled("cancelled while the observer ended"));
  }
  void tell(core::Result<Observation> result) {
    auto done = std::move(done_);
    done_ = nullptr;
    done(std::move(result));
  }

 private:
  std::shared_ptr<Observer> observer_;
  Done done_;
};

Observer::Observer(Client& client, Request request, Expectation expectation, ObserverOptions options)
    : client_(client),
      request_(as_probe(std::move(request))),
      expectation_(std::move(expectation)),
      options_(options),
      timer_(client.loop()),
      begun_(core::Loop::now()),
      last_success_(begun_) {
  options_.rate = std::clamp(options_.rate, 0.1, 1000.0);
  tick();
}

Observer::~Observer() = default;

double Observer::since_start(core::Instant time) const { return milliseconds(begun_, time); }

void Observer::tick() {
  const auto now = core::Loop::now();
  while (!shots_.empty() && now - shots_.front().sent > options_.timeout) {
    const bool fresh = shots_.front().fresh;
    shots_.pop_front();
    count_failure(0, fresh, "no answer within " + core::format_duration(options_.timeout));
  }
  if (stopping_) {
    if (shots_.empty()) return check_over();
    timer_.start(core::Milliseconds(10), [this] { tick(); });
    return;
  }
  // Sent by the clock, not by the answers: a server that stands still must not slow its observer down.
  const auto due = static_cast<std::uint64_t>(since_start(now) / 1000.0 * options_.rate) + 1;
  if (due > sent_ + kBurst) sent_ = due - kBurst;
  while (sent_ < due) {
    ++sent_;
    send(now);
  }
  const double next = static_cast<double>(sent_) / options_.rate * 1000.0 - since_start(core::Loop::now());
  // Never so long that a request's time limit would be noticed late.
  const double wait = std::clamp(std::ceil(next), 1.0, 50.0);
  timer_.start(core::Milliseconds(static_cast<std::int64_t>(wait)), [this] { tick(); });
}

void Observer::send(core::Instant now) {
  fresh_due_ += options_.fresh;
  const bool fresh = fresh_due_ >= 1.0;
  if (fresh) fresh_due_ -= 1.0;
  if (shots_.size() >= kMaxInFlight) {
    return count_failure(0, fresh, "not sent: " + std::to_string(kMaxInFlight) + " requests wait for an answer");
  }
  Request request = request_;
  request.fresh = fresh;
  const Place place =
      shots_.insert(shots_.end(), Shot{std::make_unique<Call>(client_, std::move(request)), now, fresh});
  place->call->start([this, place](core::Result<Reply> reply) { answered(place, std::move(reply)); });
}

void Observer::answered(Place place, core::Result<Reply> reply) {
  const auto now = core::Loop::now();
  const bool fresh = place->fresh;
  const double ms = milliseconds(place->sent, now);
  shots_.erase(place);
  if (!reply) {
    std::string reason = reply.error().message;
    if (reply.error().cause) reason += ": " + reply.error().cause->message;
    count_failure(0, fresh, excerpt(reason));
  } else if (const auto why = unmet(expectation_, *reply)) {
    count_failure(reply->status, fresh, summary(*reply) + (why->rfind("status ", 0) == 0 ? "" : ": " + *why));
  } else {
    ++seen_.requests;
    ++seen_.by_status[reply->status];
    if (reply->reused) ++seen_.reused;
    latency_.add(ms);
    success(now);
  }
  if (stopping_) check_over();
}

void Observer::success(core::Instant now) {
  const double gap = milliseconds(last_success_, now);
  if (gap > seen_.longest_gap_ms) {
    seen_.longest_gap_ms = gap;
    seen_.gap_at_ms = since_start(last_success_);
  }
  last_success_ = now;
}

void Observer::count_failure(int status, bool fresh, std::string reason) {
  ++seen_.requests;
  ++seen_.failures;
  ++seen_.by_status[status];
  if (seen_.first_failures.size() < Observation::kFirstFailures) {
    seen_.first_failures.push_back({since_start(core::Loop::now()), status, fresh, std::move(reason)});
  }
}

Observation Observer::snapshot() const {
  Observation now = seen_;
  const auto end = stopping_ ? stopped_at_ : core::Loop::now();
  now.ms = since_start(end);
  if (const double open = milliseconds(last_success_, end); open > now.longest_gap_ms) {
    now.longest_gap_ms = open;
    now.gap_at_ms = since_start(last_success_);
  }
  now.p50_ms = latency_.quantile(0.50);
  now.p99_ms = latency_.quantile(0.99);
  now.max_ms = latency_.max();
  return now;
}

std::unique_ptr<core::Operation<Observation>> Observer::stop() { return std::make_unique<Stop>(shared_from_this()); }

void Observer::begin_stop() {
  if (!stopping_) {
    stopping_ = true;
    stopped_at_ = core::Loop::now();
  }
  tick();
}

void Observer::check_over() {
  if (!shots_.empty() || waiter_ == nullptr) return;
  timer_.cancel();
  Stop* const waiter = std::exchange(waiter_, nullptr);
  waiter->tell(snapshot());
}

}  // namespace deployrun::http
