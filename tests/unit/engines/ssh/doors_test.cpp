#include "ssh/doors.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace deployrun;
using namespace deployrun::ssh;

namespace {
void settle(core::Loop& loop) {
  bool done = false;
  loop.defer([&] { done = true; });
  while (!done) uv_run(loop.raw(), UV_RUN_ONCE);
}
}  // namespace

TEST_CASE("doors: so many at once, the others in order") {
  core::Loop loop;
  Doors doors(loop);
  std::vector<int> entered;
  std::vector<std::shared_ptr<void>> tokens;
  for (int i = 0; i < 12; ++i) tokens.push_back(doors.enter("web:22", [&entered, i] { entered.push_back(i); }));
  CHECK(entered.size() == Doors::kAtOnce);
  const auto elsewhere = doors.enter("db:22", [&entered] { entered.push_back(100); });
  CHECK(entered.back() == 100);

  tokens[8].reset();  // gives up in the queue
  tokens[0].reset();
  CHECK(entered.size() == Doors::kAtOnce + 1);  // never from inside whoever leaves
  settle(loop);
  CHECK(entered.back() == 9);
  tokens[9].reset();
  settle(loop);
  CHECK(entered.back() == 10);
  tokens[1].reset();
  settle(loop);
  CHECK(entered.back() == 11);
  for (auto& token : tokens) token.reset();
  settle(loop);
  CHECK(entered.size() == 12);
}

TEST_CASE("doors: given up between its turn and its call, the next one has it") {
  core::Loop loop;
  Doors doors(loop);
  int entered = 0;
  std::vector<std::shared_ptr<void>> inside;
  for (std::size_t i = 0; i < Doors::kAtOnce; ++i) inside.push_back(doors.enter("web:22", [] {}));
  auto first = doors.enter("web:22", [&] { entered += 1; });
  auto second = doors.enter("web:22", [&] { entered += 10; });
  inside[0].reset();
  first.reset();
  settle(loop);
  settle(loop);
  CHECK(entered == 10);
}
