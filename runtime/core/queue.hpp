// Values that arrive over time (lines of output, progress, log entries), for one reader that awaits the next.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::core {

/// Shared by the producer and the reader's operations. Pushing never waits; `full()` tells a producer to pause its
/// source.
template <class T>
class Queue : public std::enable_shared_from_this<Queue<T>> {
 public:
  static constexpr std::size_t kFull = 1024;

  /// Completes with the next value, or with nothing at the end. One reader at a time.
  class Next final : public Operation<std::optional<T>> {
   public:
    using Done = typename Operation<std::optional<T>>::Done;
    explicit Next(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}
    ~Next() override {
      if (queue_->reader_ == this) queue_->reader_ = nullptr;
    }
    void start(Done done) override {
      done_ = std::move(done);
      queue_->reader_ = this;
      queue_->serve();
    }
    void cancel() noexcept override {
      if (queue_->reader_ != this) return;
      queue_->reader_ = nullptr;
      auto done = std::move(done_);
      done(core::cancelled());
    }

   private:
    friend class Queue;
    std::shared_ptr<Queue> queue_;
    Done done_;
  };

  void push(T value) {
    if (closed_) return;
    values_.push_back(std::move(value));
    serve();
  }
  /// No more values; `error` (if any) is what the reader gets once the queue is empty.
  void close(std::optional<Error> error = {}) {
    if (closed_) return;
    closed_ = true;
    error_ = std::move(error);
    serve();
  }
  bool closed() const noexcept { return closed_; }
  bool full() const noexcept { return values_.size() >= kFull; }
  /// Called after a value was taken; a producer resumes its source here.
  std::function<void()> on_room;

 private:
  void serve() {
    if (reader_ == nullptr || (values_.empty() && !closed_)) return;
    auto keep = this->shared_from_this();  // `done` may drop the reader's reference
    auto done = std::move(reader_->done_);
    reader_ = nullptr;
    if (!values_.empty()) {
      std::optional<T> value(std::move(values_.front()));
      values_.pop_front();
      if (on_room) on_room();
      done(std::move(value));
    } else if (error_) {
      done(*error_);
    } else {
      done(std::optional<T>{});
    }
  }

  std::deque<T> values_;
  bool closed_ = false;
  std::optional<Error> error_;
  Next* reader_ = nullptr;
};

}  // namespace deployrun::core
