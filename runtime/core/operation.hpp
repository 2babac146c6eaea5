// One asynchronous thing in flight (STYLE.md §4). Everything that waits is one of these.
#pragma once

#include <functional>

#include "core/result.hpp"

namespace deployrun::core {

/// Lives on the loop's thread. Contract:
/// * `start` is called once; it owns copies of its inputs; `done` is called exactly once, maybe before `start` returns.
/// * `cancel` may come at any time after `start`, more than once: it stops the sources, releases what is held, and then
///   completes with `cancelled` (at once or later). After completion it does nothing.
/// * `done` may destroy the operation: touch no member after calling it.
/// * Destroyed before completion it stops in silence: `done` is not called any more.
/// * Deadlines are not its business: the waiting task cancels it when its time is up.
template <class T>
class Operation {
 public:
  using Value = T;
  using Done = std::function<void(Result<T>)>;

  Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  virtual ~Operation() = default;

  virtual void start(Done done) = 0;
  virtual void cancel() noexcept = 0;
};

}  // namespace deployrun::core
