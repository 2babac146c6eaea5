// Commands: words, streams, codes, signals, limits, many at once, and their end.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "server.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("a command's output, error output, code and round trips") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const auto first = exec(loop, host, {"sh", "-c", "echo out; echo err >&2; exit 7"});
  REQUIRE(first.ok());
  CHECK(first->out == "out\n");
  CHECK(first->err == "err\n");
  CHECK(first->code == 7);
  CHECK(first->signal.empty());

  const auto before = host->transport().round_trips();
  for (int i = 0; i < 20; ++i) REQUIRE(exec(loop, host, {"true"}).ok());
  const auto trips = host->transport().round_trips() - before;
  INFO("round trips for 20 commands: " << trips);
  CHECK(trips <= 50);
}
