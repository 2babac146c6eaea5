#include "core/loop.hpp"

#include <cassert>
#include <csignal>
#include <stdexcept>

namespace deployrun::core {

namespace {

constexpr std::uint64_t kLastWaitMs = 5000;

}  // namespace

Loop::Loop() {
  // libuv writes to pipes and sockets without MSG_NOSIGNAL: a peer that has gone must be an error, not our end.
  std::signal(SIGPIPE, SIG_IGN);
  if (uv_loop_init(&loop_) != 0) throw std::runtime_error("event loop: cannot be initialised");
  wake_ = new uv_idle_t;
  uv_idle_init(&loop_, wake_);
  wake_->data = this;
}

Loop::~Loop() {
  deferred_.clear();
  // What was given away comes to its end: handles are closed, killed children reaped, pool jobs nobody waits for
  // finished. A timer that does not count as work bounds the wait, so that a defect is asserted below and not waited
  // for.
  uv_timer_t bound;
  uv_timer_init(&loop_, &bound);
  uv_timer_start(
      &bound, [](uv_timer_t*) {}, kLastWaitMs, 0);
  uv_unref(reinterpret_cast<uv_handle_t*>(&bound));
  while (uv_loop_alive(&loop_) != 0 && uv_is_active(reinterpret_cast<uv_handle_t*>(&bound)) != 0) {
    uv_run(&loop_, UV_RUN_ONCE);
  }
  close_handle(wake_);
  uv_close(reinterpret_cast<uv_handle_t*>(&bound), nullptr);
  uv_run(&loop_, UV_RUN_NOWAIT);  // ends at once where `stop` came and nobody ran the loop after that
  uv_run(&loop_, UV_RUN_NOWAIT);
  [[maybe_unused]] const int busy = uv_loop_close(&loop_);
  assert(busy == 0 && "a handle outlives the loop");
}

void Loop::defer(std::function<void()> fn) {
  deferred_.push_back(std::move(fn));
  uv_idle_start(wake_, [](uv_idle_t* handle) { static_cast<Loop*>(handle->data)->drain(); });
}

void Loop::drain() {
  // What is deferred while draining waits for the next turn: a busy producer cannot starve the sockets.
  std::deque<std::function<void()>> batch;
  batch.swap(deferred_);
  while (!batch.empty()) {
    auto fn = std::move(batch.front());
    batch.pop_front();
    fn();
  }
  if (deferred_.empty()) uv_idle_stop(wake_);
}

void Loop::run() { uv_run(&loop_, UV_RUN_DEFAULT); }

void Loop::stop() noexcept { uv_stop(&loop_); }

Timer::Timer(Loop& loop) : handle_(new uv_timer_t) {
  uv_timer_init(loop.raw(), handle_);
  handle_->data = this;
}

Timer::~Timer() {
  handle_->data = nullptr;
  close_handle(handle_);
}

void Timer::start(Milliseconds delay, std::function<void()> fn) {
  fn_ = std::move(fn);
  // libuv counts from the start of the loop's turn; a turn that computed for long would otherwise fire too early.
  uv_update_time(handle_->loop);
  const auto ms = delay.count() < 0 ? 0 : static_cast<std::uint64_t>(delay.count());
  uv_timer_start(
      handle_,
      [](uv_timer_t* handle) {
        auto* self = static_cast<Timer*>(handle->data);
        auto call = std::move(self->fn_);
        self->fn_ = nullptr;
        call();
      },
      ms, 0);
}

void Timer::cancel() noexcept {
  uv_timer_stop(handle_);
  fn_ = nullptr;
}

}  // namespace deployrun::core
