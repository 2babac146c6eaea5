#include "report/collector.hpp"

#include <catch2/catch_test_macros.hpp>

using deployrun::report::Collector;
using deployrun::report::Json;

TEST_CASE("a collector keeps what tells how a run went, in order") {
  Collector collector;
  collector.event({{"type", "run.started"}, {"run", "r1"}});
  collector.event({{"type", "task.progress"}, {"host", "h1"}});
  collector.event({{"type", "print"}, {"text", "data"}});
  collector.event({{"type", "task.output"}, {"line", "booting"}});
  REQUIRE(collector.events().size() == 2);
  CHECK(collector.events()[0]["type"] == "run.started");
  CHECK(collector.events()[1]["line"] == "booting");
  CHECK(collector.left_out() == 0);
}

TEST_CASE("past its limit a collector leaves out lines and calls, never outcomes") {
  Collector collector(100);
  for (int i = 0; i < 50; ++i) collector.event({{"type", "task.output"}, {"line", "a line of the output"}});
  collector.event({{"type", "task.finished"}, {"host", "h1"}, {"state", "failed"}});
  CHECK(collector.left_out() == 50 - (collector.events().size() - 1));
  CHECK(collector.left_out() > 40);
  CHECK(collector.events().back()["state"] == "failed");
}
