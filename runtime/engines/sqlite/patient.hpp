// Waiting for a lock without blocking: what found a database busy is tried again from the loop. SQLite's own
// busy_timeout would hold a pool thread, could not be cancelled, and hands a lock over in 15 ms instead of one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/pool.hpp"
#include "sqlite/patience.hpp"

namespace deployrun::sqlite {

/// Runs what `make` gives until it is not `sqlite.busy` any more, `patience` at most. The error then says for how long
/// it was waited (`waited_ms`); `explain`, on the pool, adds who holds what is busy.
template <class T>
class Patient final : public core::Operation<T> {
 public:
  using Done = typename core::Operation<T>::Done;
  using Make = std::function<std::unique_ptr<core::Operation<T>>()>;
  using Explain = std::function<core::Error(core::Error)>;

  Patient(core::Loop& loop, std::string what, core::Milliseconds patience, Make make, Explain explain)
      : loop_(loop),
        what_(std::move(what)),
        patience_(patience),
        make_(std::move(make)),
        explain_(std::move(explain)),
        pause_(loop) {}

  void start(Done done) override {
    done_ = std::move(done);
    begun_ = core::Loop::now();
    attempt();
  }
  void cancel() noexcept override {
    if (!done_) return;
    cancelled_ = true;
    if (pause_.active()) {
      pause_.cancel();
      finish(core::cancelled());
    } else if (looking_) {
      looking_->cancel();
    } else if (attempt_) {
      attempt_->cancel();
    }
  }

 private:
  struct Explained {
    core::Error error;
  };

  void attempt() {
    attempt_ = make_();
    attempt_->start([this](core::Result<T> result) { tried(std::move(result)); });
  }
  void tried(core::Result<T> result) {
    if (result.ok() || !result.error().is("sqlite.busy") || cancelled_) return finish(std::move(result));
    ++attempts_;
    if (waited() >= patience_) return give_up(std::move(result).error());
    pause_.start(pause_after(attempts_), [this] { attempt(); });
  }
  void give_up(core::Error error) {
    error = busy_for(what_, waited(), std::move(error));
    looking_ = std::make_unique<core::PoolJob<Explained>>(
        loop_, [explain = explain_, error = std::move(error)]() -> core::Result<Explained> {
          return Explained{explain(error)};
        });
    looking_->start([this](core::Result<Explained> found) {
      finish(cancelled_ || !found ? core::cancelled() : std::move(found->error));
    });
  }
  core::Milliseconds waited() const {
    return std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_);
  }
  void finish(core::Result<T> result) {
    auto done = std::move(done_);
    done_ = nullptr;
    done(std::move(result));
  }

  core::Loop& loop_;
  std::string what_;
  core::Milliseconds patience_;
  Make make_;
  Explain explain_;
  Done done_;
  core::Instant begun_;
  core::Timer pause_;
  std::unique_ptr<core::Operation<T>> attempt_;
  std::unique_ptr<core::PoolJob<Explained>> looking_;
  int attempts_ = 0;
  bool cancelled_ = false;
};

}  // namespace deployrun::sqlite
