// Blocking work (SQLite, DNS, hashing, key derivation, disk) as an operation on libuv's thread pool.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <optional>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::core {

/// Runs `work` on a pool thread and completes with what it returned. `work` must own all it touches. Cancelled before a
/// thread took it, it never runs; after that it runs to its end, and only then the operation completes with
/// `cancelled`. Destroyed early, the work still runs to its end on its own copies; its result is dropped.
template <class T>
class PoolJob final : public Operation<T> {
 public:
  using Work = std::function<Result<T>()>;
  using Done = typename Operation<T>::Done;

  PoolJob(Loop& loop, Work work) : loop_(loop), job_(new Job{{}, std::move(work), std::nullopt, this}) {}
  ~PoolJob() override {
    if (!started_) {
      delete job_;
    } else if (job_ != nullptr) {
      job_->owner = nullptr;  // Job frees itself in `finish`
      uv_cancel(reinterpret_cast<uv_req_t*>(&job_->request));
    }
  }

  void start(Done done) override {
    done_ = std::move(done);
    started_ = true;
    job_->request.data = job_;
    uv_queue_work(loop_.raw(), &job_->request, run, finish);
  }

  void cancel() noexcept override {
    if (job_ == nullptr || !started_) return;
    cancelled_ = true;
    uv_cancel(reinterpret_cast<uv_req_t*>(&job_->request));
  }

 private:
  struct Job {
    uv_work_t request;
    Work work;
    std::optional<Result<T>> result;
    PoolJob* owner;
  };

  static void run(uv_work_t* request) {
    auto* job = static_cast<Job*>(request->data);
    try {
      job->result.emplace(job->work());
    } catch (const std::exception& failure) {
      job->result.emplace(Error{.kind = "internal", .message = failure.what()});
    }
  }
  static void finish(uv_work_t* request, int) {
    std::unique_ptr<Job> job(static_cast<Job*>(request->data));
    PoolJob* owner = job->owner;
    if (owner == nullptr) return;
    owner->job_ = nullptr;
    auto done = std::move(owner->done_);
    if (owner->cancelled_ || !job->result) {
      done(cancelled_error());
    } else {
      done(std::move(*job->result));
    }
  }
  static Error cancelled_error() { return core::cancelled(); }

  Loop& loop_;
  Job* job_;
  Done done_;
  bool started_ = false;
  bool cancelled_ = false;
};

}  // namespace deployrun::core
