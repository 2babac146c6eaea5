#include "core/pool.hpp"

#include <catch2/catch_test_macros.hpp>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "probe.hpp"

using namespace deployrun::core;

namespace {

/// Keeps pool threads busy until it is opened.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void await_waiting(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

constexpr int kThreads = 4;  // libuv's default size of the pool

}  // namespace

TEST_CASE("work runs on another thread and its result comes back") {
  Loop loop;
  std::thread::id where;
  PoolJob<std::string> job(loop, [&]() -> Result<std::string> {
    where = std::this_thread::get_id();
    return std::string("done");
  });
  const auto result = test::run(loop, job);
  REQUIRE(result.ok());
  CHECK(*result == "done");
  CHECK(where != std::this_thread::get_id());
}

TEST_CASE("an error and an exception come back as errors") {
  Loop loop;
  PoolJob<int> failing(loop, []() -> Result<int> { return Error{.kind = "x.y", .message = "no"}; });
  CHECK(test::run(loop, failing).error().kind == "x.y");
  PoolJob<int> throwing(loop, []() -> Result<int> { throw std::runtime_error("boom"); });
  const auto result = test::run(loop, throwing);
  CHECK(result.error().kind == "internal");
  CHECK(result.error().message == "boom");
}

TEST_CASE("cancelled before a thread took it, the work never runs") {
  Loop loop;
  Gate gate;
  std::vector<std::unique_ptr<PoolJob<int>>> busy;
  int finished = 0;
  for (int i = 0; i < kThreads; ++i) {
    busy.push_back(std::make_unique<PoolJob<int>>(loop, [&]() -> Result<int> {
      gate.wait();
      return 0;
    }));
    busy.back()->start([&](Result<int>) { ++finished; });
  }
  gate.await_waiting(kThreads);
  bool ran = false;
  std::string kind;
  PoolJob<int> job(loop, [&]() -> Result<int> {
    ran = true;
    return 0;
  });
  job.start([&](Result<int> result) { kind = result.error().kind; });
  job.cancel();
  job.cancel();
  gate.open();
  CHECK(test::run_until(loop, [&] { return finished == kThreads && !kind.empty(); }));
  CHECK(kind == "cancelled");
  CHECK_FALSE(ran);
}

TEST_CASE("cancelled while it runs, it completes with cancelled after its end") {
  Loop loop;
  Gate gate;
  std::atomic<bool> ended{false};
  std::string kind;
  PoolJob<int> job(loop, [&]() -> Result<int> {
    gate.wait();
    ended = true;
    return 1;
  });
  job.start([&](Result<int> result) {
    CHECK(ended);
    kind = result.error().kind;
  });
  gate.await_waiting(1);
  job.cancel();
  CHECK(kind.empty());
  gate.open();
  CHECK(test::run_until(loop, [&] { return !kind.empty(); }));
  CHECK(kind == "cancelled");
}

TEST_CASE("cancel after completion and destruction before start do nothing") {
  Loop loop;
  PoolJob<int> job(loop, []() -> Result<int> { return 1; });
  CHECK(test::run(loop, job).ok());
  job.cancel();
  const PoolJob<int> never(loop, []() -> Result<int> { return 1; });
}

TEST_CASE("the completion may destroy the job") {
  Loop loop;
  auto job = std::make_unique<PoolJob<int>>(loop, []() -> Result<int> { return 1; });
  bool called = false;
  job->start([&](Result<int>) {
    job.reset();
    called = true;
  });
  CHECK(test::run_until(loop, [&] { return called; }));
}
