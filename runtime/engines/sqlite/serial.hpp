// Pool jobs of one connection, one after another in the order in which they were started.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "core/pool.hpp"

namespace deployrun::sqlite {

/// Lives on the loop's thread, shared by its operations. At most one of its jobs is on the pool at any time.
class Serial : public std::enable_shared_from_this<Serial> {
 public:
  explicit Serial(core::Loop& loop) : loop_(loop) {}

  /// Takes its turn when it is started. Cancelled or destroyed while it waits for its turn, it never runs; after that
  /// it runs to its end, and the next job waits for it even where nobody wants its result any more.
  template <class T>
  std::unique_ptr<core::Operation<T>> run(std::function<core::Result<T>()> work) {
    return std::make_unique<Turn<T>>(shared_from_this(), std::move(work));
  }

  core::Loop& loop() noexcept { return loop_; }

 private:
  struct Job {
    virtual ~Job() = default;
    virtual void begin() = 0;
  };

  template <class T>
  struct Work final : Job, std::enable_shared_from_this<Work<T>> {
    Work(std::shared_ptr<Serial> queue, std::function<core::Result<T>()> work)
        : serial(std::move(queue)), pool(serial->loop_, std::move(work)) {}
    void begin() override {
      pool.start([this, keep = this->shared_from_this()](core::Result<T> result) {
        auto call = std::move(done);
        auto queue = std::move(serial);
        queue->next();  // may drop the queue's hold on this job; `keep` still has it
        if (call) call(std::move(result));
      });
    }
    std::shared_ptr<Serial> serial;
    core::PoolJob<T> pool;
    typename core::Operation<T>::Done done;
  };

  template <class T>
  class Turn final : public core::Operation<T> {
   public:
    Turn(std::shared_ptr<Serial> serial, std::function<core::Result<T>()> work)
        : serial_(std::move(serial)), work_(std::make_shared<Work<T>>(serial_, std::move(work))) {}
    ~Turn() override {
      work_->done = nullptr;
      serial_->forget(work_.get());
    }
    void start(typename core::Operation<T>::Done done) override {
      work_->done = std::move(done);
      serial_->add(work_);
    }
    void cancel() noexcept override {
      if (!work_->done) return;
      if (serial_->forget(work_.get())) {
        auto done = std::move(work_->done);
        work_->done = nullptr;
        done(core::cancelled());
      } else {
        work_->pool.cancel();
      }
    }

   private:
    std::shared_ptr<Serial> serial_;
    std::shared_ptr<Work<T>> work_;
  };

  void add(std::shared_ptr<Job> job) {
    waiting_.push_back(std::move(job));
    if (!running_) next();
  }
  void next() {
    running_ = nullptr;
    if (waiting_.empty()) return;
    running_ = std::move(waiting_.front());
    waiting_.pop_front();
    running_->begin();
  }
  bool forget(const Job* job) {
    const auto found =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& each) { return each.get() == job; });
    if (found == waiting_.end()) return false;
    waiting_.erase(found);
    return true;
  }

  core::Loop& loop_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
};

}  // namespace deployrun::sqlite
