// The only event loop. Single thread: everything but Pool jobs runs on it and nothing on it may block.
#pragma once

#include <uv.h>

#include <deque>
#include <functional>
#include <memory>

#include "core/time.hpp"

namespace deployrun::core {

class Loop {
 public:
  Loop();
  /// Lets what was given away come to its end (close callbacks, killed children, pool jobs; at most 5 s); a handle that
  /// is still open by then is a defect and is asserted.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  uv_loop_t* raw() noexcept { return &loop_; }
  static Instant now() { return std::chrono::steady_clock::now(); }

  /// Runs `fn` on the next turn, in order. The way out of a library's callback.
  void defer(std::function<void()> fn);

  /// Runs until `stop` is called or nothing is left to wait for.
  void run();
  void stop() noexcept;

 private:
  void drain();

  uv_loop_t loop_{};
  uv_idle_t* wake_ = nullptr;  // open while deferred work exists, so that the poll does not wait
  std::deque<std::function<void()>> deferred_;
};

/// Gives a libuv handle away: its memory lives until the close callback has run.
template <class Handle>
void close_handle(Handle* handle) noexcept {
  uv_close(reinterpret_cast<uv_handle_t*>(handle),
           [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
}

/// A one-shot timer. `start` again replaces the earlier wait; a late wake-up of a replaced wait never arrives.
class Timer {
 public:
  explicit Timer(Loop& loop);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void start(Milliseconds delay, std::function<void()> fn);
  void cancel() noexcept;
  bool active() const noexcept { return static_cast<bool>(fn_); }

 private:
  uv_timer_t* handle_;
  std::function<void()> fn_;
};

}  // namespace deployrun::core
