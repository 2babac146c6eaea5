// Operations one after another as one operation: an exec is create, start, inspect.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "core/operation.hpp"

namespace deployrun::docker {

template <class T>
using Op = std::unique_ptr<core::Operation<T>>;

/// `first` begins with `chain.then(operation, next)`; each `next` continues with another `then` or ends with `finish`.
/// A step that fails ends the chain with its error; cancelling cancels the step under way.
template <class T>
class Chain final : public core::Operation<T> {
 public:
  using Done = typename core::Operation<T>::Done;

  explicit Chain(std::function<void(Chain&)> first) : first_(std::move(first)) {}

  void start(Done done) override {
    done_ = std::move(done);
    first_(*this);
  }
  void cancel() noexcept override {
    if (done_ && step_) step_->cancel();
  }

  template <class U>
  void then(Op<U> operation, std::function<void(U)> next) {
    any<U>(std::move(operation), [this, next = std::move(next)](core::Result<U> result) {
      if (!result) return finish(std::move(result).error());
      next(std::move(result).value());
    });
  }
  /// As `then`, but `next` sees a failure too.
  template <class U>
  void any(Op<U> operation, std::function<void(core::Result<U>)> next) {
    // The step before may still be on the stack, calling us: it goes when this one has ended, or with the chain.
    previous_ = std::move(step_);
    auto step = std::make_unique<Step<U>>(std::move(operation));
    core::Operation<U>& started = *step->operation;
    step_ = std::move(step);
    started.start(std::move(next));
  }
  void finish(core::Result<T> result) {
    auto done = std::move(done_);
    done_ = nullptr;
    done(std::move(result));
  }

 private:
  struct AnyStep {
    virtual ~AnyStep() = default;
    virtual void cancel() noexcept = 0;
  };
  template <class U>
  struct Step final : AnyStep {
    explicit Step(Op<U> started) : operation(std::move(started)) {}
    void cancel() noexcept override { operation->cancel(); }
    Op<U> operation;
  };

  std::function<void(Chain&)> first_;
  Done done_;
  std::unique_ptr<AnyStep> previous_;
  std::unique_ptr<AnyStep> step_;
};

template <class T>
Op<T> chain(std::function<void(Chain<T>&)> first) {
  return std::make_unique<Chain<T>>(std::move(first));
}

}  // namespace deployrun::docker
