#include "core/loop.hpp"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <thread>
#include <vector>

#include "core/pool.hpp"
#include "probe.hpp"

using namespace deployrun::core;

TEST_CASE("deferred work runs in order, never at once") {
  Loop loop;
  std::vector<int> order;
  loop.defer([&] {
    order.push_back(1);
    loop.defer([&] { order.push_back(3); });
  });
  loop.defer([&] { order.push_back(2); });
  CHECK(order.empty());
  loop.run();
  CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("deferred work that goes on for ever does not starve a timer") {
  Loop loop;
  bool fired = false;
  std::function<void()> again = [&] {
    if (!fired) loop.defer(again);
  };
  loop.defer(again);
  Timer timer(loop);
  timer.start(Milliseconds{10}, [&] { fired = true; });
  loop.run();
  CHECK(fired);
}

TEST_CASE("deferred work that never ran is dropped with the loop") {
  auto counted = std::make_shared<int>(0);
  {
    Loop loop;
    loop.defer([counted] { ++*counted; });
    CHECK(counted.use_count() == 2);
  }
  CHECK(counted.use_count() == 1);
  CHECK(*counted == 0);
}

TEST_CASE("a timer fires once, not before its time") {
  Loop loop;
  Timer timer(loop);
  int fired = 0;
  const Instant before = Loop::now();
  timer.start(Milliseconds{30}, [&] { ++fired; });
  CHECK(timer.active());
  loop.run();
  CHECK(fired == 1);
  CHECK_FALSE(timer.active());
  CHECK(Loop::now() - before >= Milliseconds{29});
}

TEST_CASE("a timer counts from the call, not from the start of the turn") {
  Loop loop;
  Timer timer(loop);
  Instant started;
  Instant fired;
  loop.defer([&] {
    std::this_thread::sleep_for(Milliseconds{40});  // a turn that computes for long
    started = Loop::now();
    timer.start(Milliseconds{30}, [&] { fired = Loop::now(); });
  });
  loop.run();
  CHECK(fired - started >= Milliseconds{29});
}

TEST_CASE("starting a timer again replaces the earlier wait") {
  Loop loop;
  Timer timer(loop);
  std::vector<int> fired;
  timer.start(Milliseconds{5}, [&] { fired.push_back(1); });
  timer.start(Milliseconds{15}, [&] {
    fired.push_back(2);
    timer.start(Milliseconds{1}, [&] { fired.push_back(3); });
  });
  loop.run();
  CHECK(fired == std::vector<int>{2, 3});
}

TEST_CASE("a cancelled timer never fires and lets its closure go") {
  Loop loop;
  Timer timer(loop);
  auto held = std::make_shared<int>(0);
  timer.start(Milliseconds{1}, [held] { ++*held; });
  timer.cancel();
  CHECK(held.use_count() == 1);
  loop.run();
  CHECK(*held == 0);
}

TEST_CASE("a timer may be destroyed by what it calls") {
  Loop loop;
  auto timer = std::make_unique<Timer>(loop);
  bool fired = false;
  timer->start(Milliseconds{-5}, [&] {
    timer.reset();
    fired = true;
  });
  loop.run();
  CHECK(fired);
}

TEST_CASE("a pool job that nobody waits for is finished before the loop is gone") {
  std::atomic<bool> begun{false}, ended{false};
  {
    Loop loop;
    auto job = std::make_unique<PoolJob<int>>(loop, [&]() -> Result<int> {
      begun = true;
      std::this_thread::sleep_for(Milliseconds{50});
      ended = true;
      return 1;
    });
    job->start([](Result<int>) { FAIL("destroyed: must stay silent"); });
    while (!begun) std::this_thread::yield();
    job.reset();
  }
  CHECK(ended);
}

TEST_CASE("writing to a pipe that nobody reads is an error and not our end") {
  const Loop loop;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  CHECK(::write(ends[1], "x", 1) == -1);
  ::close(ends[1]);
}
