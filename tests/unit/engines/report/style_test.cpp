#include "report/style.hpp"

#include <catch2/catch_test_macros.hpp>
#include <map>

using namespace deployrun::report;

TEST_CASE("colour: the option, then the environment, then the terminal") {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) { return variables[name]; };
  CHECK(wants_color(ColorChoice::automatic, true, environment));
  CHECK_FALSE(wants_color(ColorChoice::automatic, false, environment));
  CHECK(wants_color(ColorChoice::always, false, environment));
  variables["NO_COLOR"] = "1";
  CHECK_FALSE(wants_color(ColorChoice::automatic, true, environment));
  CHECK(wants_color(ColorChoice::always, true, environment));
  variables["FORCE_COLOR"] = "1";
  CHECK(wants_color(ColorChoice::automatic, false, environment));
  CHECK_FALSE(wants_color(ColorChoice::never, true, environment));
  variables = {{"FORCE_COLOR", "0"}};
  CHECK_FALSE(wants_color(ColorChoice::automatic, false, environment));
  variables = {{"TERM", "dumb"}};
  CHECK_FALSE(wants_color(ColorChoice::automatic, true, environment));
  variables = {{"CI", "true"}};
  CHECK_FALSE(wants_color(ColorChoice::automatic, true, environment));
}

TEST_CASE("durations read well at every size") {
  CHECK(duration(0) == "0.0 s");
  CHECK(duration(94) == "0.1 s");
  CHECK(duration(59'949) == "59.9 s");
  CHECK(duration(59'960) == "1 min 00 s");
  CHECK(duration(65'000) == "1 min 05 s");
  CHECK(duration(7'380'000) == "2 h 03 min");
}
