// Jobs of one connection: in order of their start, one at a time, and none of a cancelled turn.
#include "sqlite/serial.hpp"

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <thread>
#include <vector>

using deployrun::core::Loop;
using deployrun::core::Operation;
using deployrun::core::Result;
using deployrun::sqlite::Serial;

TEST_CASE("jobs run one at a time in the order of their start") {
  Loop loop;
  auto serial = std::make_shared<Serial>(loop);
  std::atomic<int> inside{0};
  std::vector<int> order;  // touched by one job at a time: that is the claim
  std::vector<std::unique_ptr<Operation<int>>> operations;
  for (int i = 0; i < 50; ++i) {
    operations.push_back(serial->run<int>([&, i]() -> Result<int> {
      CHECK(++inside == 1);
      order.push_back(i);
      std::this_thread::yield();
      --inside;
      return i;
    }));
  }
  int completed = 0;
  for (int i = 0; i < 50; ++i) {
    operations[static_cast<std::size_t>(i)]->start([&, i](Result<int> result) {
      REQUIRE(result.ok());
      CHECK(*result == i);
      CHECK(completed++ == i);
    });
  }
  loop.run();
  CHECK(completed == 50);
  for (int i = 0; i < 50; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a turn that was cancelled or dropped while it waited never runs") {
  Loop loop;
  auto serial = std::make_shared<Serial>(loop);
  std::atomic<int> ran{0};
  const auto job = [&]() -> Result<int> { return ++ran; };
  auto first = serial->run<int>(job);
  auto cancelled = serial->run<int>(job);
  auto dropped = serial->run<int>(job);
  auto last = serial->run<int>(job);
  std::string kind;
  bool ended = false;
  first->start([](const Result<int>& result) { CHECK(result.ok()); });
  cancelled->start([&](const Result<int>& result) { kind = result.error().kind; });
  dropped->start([](const Result<int>&) { FAIL("a dropped operation completed"); });
  last->start([&](const Result<int>& result) { ended = result.ok(); });
  cancelled->cancel();
  cancelled->cancel();
  CHECK(kind == "cancelled");
  dropped.reset();
  loop.run();
  CHECK(ended);
  CHECK(ran == 2);
  last->cancel();  // after completion: nothing
}

TEST_CASE("a running job that nobody wants any more still keeps its turn") {
  Loop loop;
  auto serial = std::make_shared<Serial>(loop);
  std::atomic<bool> begun{false};
  std::atomic<bool> finished{false};
  auto first = serial->run<int>([&]() -> Result<int> {
    begun = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // long enough to overlap with a job that did not wait
    finished = true;
    return 1;
  });
  auto second = serial->run<int>([&]() -> Result<int> { return finished ? 2 : -1; });
  int value = 0;
  first->start([](const Result<int>&) { FAIL("a dropped operation completed"); });
  second->start([&](const Result<int>& result) { value = *result; });
  while (!begun) std::this_thread::yield();
  first.reset();
  loop.run();
  CHECK(value == 2);
}
