#include "core/task.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "probe.hpp"

using namespace deployrun::core;

namespace {

/// Notes when it hears of its cancellation, and does then what the test says.
class Node final : public Task {
 public:
  using Log = std::vector<std::string>;
  Node(Loop& loop, Task* parent, std::string name, Log& log, std::optional<Instant> deadline = {},
       bool shielded = false)
      : Task(loop, parent, std::move(name), deadline, shielded), log_(log) {}
  std::function<void()> then;

 protected:
  void on_cancel() override {
    log_.push_back(name() + " " + cancellation()->kind);
    if (then) then();
  }

 private:
  Log& log_;
};

Instant in(int ms) { return Loop::now() + Milliseconds{ms}; }

}  // namespace

TEST_CASE("cancelling reaches all below, children first, each once") {
  Loop loop;
  Node::Log log;
  Node root(loop, nullptr, "root", log);
  Node left(loop, &root, "left", log);
  Node leaf(loop, &left, "leaf", log);
  Node right(loop, &root, "right", log);
  left.cancel({.kind = "first"});
  root.cancel({.kind = "second"});
  root.cancel({.kind = "third"});
  CHECK(log == Node::Log{"leaf first", "left first", "right second", "root second"});
  CHECK(leaf.cancellation()->kind == "first");
}

TEST_CASE("a shielded task and what is below it stay") {
  Loop loop;
  Node::Log log;
  Node root(loop, nullptr, "root", log, in(10));
  Node shield(loop, &root, "shield", log, {}, true);
  Node below(loop, &shield, "below", log);
  CHECK_FALSE(below.deadline());
  root.cancel(cancelled());
  CHECK(log == Node::Log{"root cancelled"});
  CHECK_FALSE(below.cancellation());
  shield.cancel(cancelled());  // by itself it can be cancelled
  CHECK(below.cancellation());
}

TEST_CASE("a child born into a cancelled scope is cancelled, a shielded one is not") {
  Loop loop;
  Node::Log log;
  Node root(loop, nullptr, "root", log);
  root.cancel(cancelled());
  const Node child(loop, &root, "child", log);
  const Node shield(loop, &root, "shield", log, {}, true);
  CHECK(child.cancellation());
  CHECK_FALSE(shield.cancellation());
  CHECK(log.size() == 1);  // its first wait tells it, not on_cancel
}

TEST_CASE("the earliest deadline holds") {
  Loop loop;
  Node::Log log;
  const Instant near = in(1000);
  const Instant far = in(5000);
  Node root(loop, nullptr, "root", log, near);
  const Node longer(loop, &root, "longer", log, far);
  const Node none(loop, &root, "none", log);
  CHECK(longer.deadline() == near);
  CHECK(none.deadline() == near);
  const Node shorter(loop, &root, "shorter", log, in(10));
  CHECK(*shorter.deadline() < near);
}

TEST_CASE("passing the deadline cancels the task and all below with timeout") {
  Loop loop;
  Node::Log log;
  Node root(loop, nullptr, "root", log);
  Node task(loop, &root, "task", log, in(20));
  Node child(loop, &task, "child", log, in(5000));
  const Instant before = Loop::now();
  REQUIRE(test::run_until(loop, [&] { return !log.empty(); }));
  CHECK(Loop::now() - before >= Milliseconds{19});
  CHECK(log == Node::Log{"child timeout", "task timeout"});
  CHECK(task.cancellation()->message.starts_with("task: not finished within "));
  CHECK_FALSE(root.cancellation());
}

TEST_CASE("a deadline that has passed cancels on the next turn") {
  Loop loop;
  Node::Log log;
  Node task(loop, nullptr, "task", log, in(-5));
  CHECK(log.empty());
  loop.run();
  CHECK(log == Node::Log{"task timeout"});
}

TEST_CASE("children may end while they are being cancelled") {
  Loop loop;
  Node::Log log;
  Node root(loop, nullptr, "root", log);
  auto first = std::make_unique<Node>(loop, &root, "first", log);
  auto second = std::make_unique<Node>(loop, &root, "second", log);
  first->then = [&] { second.reset(); };
  root.cancel(cancelled());
  CHECK(log == Node::Log{"first cancelled", "root cancelled"});
  first.reset();
  CHECK(root.children().empty());
}

TEST_CASE("a finished task's deadline does nothing") {
  Loop loop;
  Node::Log log;
  { const Node task(loop, nullptr, "task", log, in(5)); }
  loop.run();
  CHECK(log.empty());
}
