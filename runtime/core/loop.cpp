#include "core/loop.hpp"

#include <cassert>
#include <stdexcept>

namespace deployrun::core {

Loop::Loop() {
  if (uv_loop_init(&loop_) != 0) throw std::runtime_error("event loop: cannot be initialised");
  wake_ = new uv_idle_t;
  uv_idle_init(&loop_, wake_);
  wake_->data = this;
}

Loop::~Loop() {
  deferred_.clear();
  close_handle(wake_);
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
