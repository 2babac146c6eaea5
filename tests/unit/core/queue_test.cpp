#include "core/queue.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::core;

namespace {

using Numbers = Queue<int>;

/// What a reader got: a value, the end or an error's kind.
struct Got {
  std::optional<int> value;
  bool end = false;
  std::string kind;
};

std::shared_ptr<Got> next(Numbers::Next& reader) {
  auto got = std::make_shared<Got>();
  reader.start([got](Result<std::optional<int>> result) {
    if (!result) {
      got->kind = result.error().kind;
    } else if (*result) {
      got->value = **result;
    } else {
      got->end = true;
    }
  });
  return got;
}

}  // namespace

TEST_CASE("values come in order, waiting or not") {
  auto queue = std::make_shared<Numbers>();
  queue->push(1);
  queue->push(2);
  Numbers::Next first(queue), second(queue), third(queue);
  CHECK(next(first)->value == 1);
  CHECK(next(second)->value == 2);
  const auto got = next(third);
  CHECK_FALSE(got->value);
  queue->push(3);
  CHECK(got->value == 3);
}

TEST_CASE("the end comes after the last value, and stays") {
  auto queue = std::make_shared<Numbers>();
  queue->push(1);
  queue->close();
  queue->push(2);  // too late
  CHECK(queue->closed());
  for (const bool end : {false, true, true}) {
    Numbers::Next reader(queue);
    const auto got = next(reader);
    CHECK(got->end == end);
    CHECK(got->value.has_value() == !end);
  }
}

TEST_CASE("an error comes after the last value; the first close counts") {
  auto queue = std::make_shared<Numbers>();
  queue->push(1);
  queue->close(Error{.kind = "x.lost"});
  queue->close();
  Numbers::Next first(queue), second(queue);
  CHECK(next(first)->value == 1);
  CHECK(next(second)->kind == "x.lost");
}

TEST_CASE("closing wakes the waiting reader") {
  auto queue = std::make_shared<Numbers>();
  Numbers::Next reader(queue);
  const auto got = next(reader);
  queue->close();
  CHECK(got->end);
}

TEST_CASE("a cancelled or destroyed reader takes no value") {
  auto queue = std::make_shared<Numbers>();
  Numbers::Next reader(queue);
  reader.cancel();  // before start: nothing
  const auto got = next(reader);
  reader.cancel();
  reader.cancel();
  CHECK(got->kind == "cancelled");
  std::shared_ptr<Got> silent;
  {
    Numbers::Next gone(queue);
    silent = next(gone);
  }
  queue->push(7);
  CHECK_FALSE(silent->value);
  CHECK(silent->kind.empty());
  Numbers::Next after(queue);
  CHECK(next(after)->value == 7);
}

TEST_CASE("a full queue says so and tells when there is room") {
  auto queue = std::make_shared<Numbers>();
  int room = 0;
  queue->on_room = [&] { ++room; };
  for (std::size_t i = 0; i < Numbers::kFull; ++i) {
    CHECK_FALSE(queue->full());
    queue->push(1);
  }
  CHECK(queue->full());
  Numbers::Next reader(queue);
  CHECK(next(reader)->value == 1);
  CHECK_FALSE(queue->full());
  CHECK(room == 1);
}

TEST_CASE("the completion may destroy the reader and drop the queue") {
  auto queue = std::make_shared<Numbers>();
  auto reader = std::make_unique<Numbers::Next>(queue);
  std::weak_ptr<Numbers> watched = queue;
  bool called = false;
  reader->start([&](Result<std::optional<int>>) {
    reader.reset();
    queue.reset();
    called = true;
  });
  auto* raw = queue.get();
  raw->push(1);
  CHECK(called);
  CHECK(watched.expired());
}
