#include "core/duration.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::core;

TEST_CASE("durations as people write them") {
  const std::pair<const char*, long> good[] = {
      {"500ms", 500}, {"0s", 0},           {"10m", 600'000},       {"1h30m", 5'400'000},
      {"1.5s", 1500}, {"2d", 172'800'000}, {"1m30s500ms", 90'500}, {"366d", 366L * 86'400'000},
      {"0.001s", 1}};
  for (const auto& [text, ms] : good) {
    INFO(text);
    const auto parsed = parse_duration(text);
    REQUIRE(parsed.ok());
    CHECK(parsed->count() == ms);
  }
}

TEST_CASE("what is no duration is a usage error that says why") {
  for (const char* text : {"", "10", "m", "10 m", "-1s", "30m1h", "1s1s", "1x", "1.s", ".5s", "0.0001s", "367d",
                           "99999999999999999999d", "1e3s", "10M", "0.333333333333s"}) {
    INFO(text);
    const auto parsed = parse_duration(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().kind == "usage");
    CHECK_FALSE(parsed.error().hint.empty());
  }
  CHECK(parse_duration("10").error().message == "duration '10': a number without a unit");
}

TEST_CASE("durations as people read them") {
  const std::pair<long, const char*> cases[] = {
      {0, "0 ms"},        {340, "340 ms"},           {999, "999 ms"},          {4200, "4.2 s"},
      {5000, "5 s"},      {59'949, "59.9 s"},        {59'960, "1 min"},        {185'000, "3 min 5 s"},
      {3'599'600, "1 h"}, {7'800'000, "2 h 10 min"}, {273'600'000, "3 d 4 h"}, {-340, "-340 ms"}};
  for (const auto& [ms, text] : cases) CHECK(format_duration(Milliseconds(ms)) == text);
}
