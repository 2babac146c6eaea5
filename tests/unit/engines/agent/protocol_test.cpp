#include "agent/protocol.hpp"

#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "json/error.hpp"

using namespace deployrun;
using agent::Json;

namespace {

sqlite::Value there_and_back(const sqlite::Value& value) {
  auto line = agent::parse_answer(json::dump(agent::to_json(value)));
  REQUIRE(line);
  auto back = agent::value_of(*line);
  REQUIRE(back);
  return *back;
}

}  // namespace

TEST_CASE("every value of a database travels unchanged") {
  const sqlite::Value values[] = {
      nullptr,
      std::int64_t{0},
      std::numeric_limits<std::int64_t>::min(),
      std::numeric_limits<std::int64_t>::max(),
      0.1,
      -1.5e300,
      std::numeric_limits<double>::denorm_min(),
      std::numeric_limits<double>::infinity(),
      -std::numeric_limits<double>::infinity(),
      std::string(),
      std::string("a\"b\\c\nd"),
      std::string("with\0nul", 8),
      std::string("\xff\xfe no text \x80"),
      std::string("{\"base64\": \"QQ==\"}"),
  };
  for (const auto& value : values) CHECK(there_and_back(value) == value);
  // A whole number that is a float stays one: 1.0 is not 1 to a column without affinity.
  CHECK(std::holds_alternative<double>(there_and_back(sqlite::Value(1.0))));
}

TEST_CASE("values by position and by name, and rows, travel unchanged") {
  const sqlite::Values list = std::vector<sqlite::Value>{std::int64_t{1}, std::string("x"), nullptr};
  auto back = agent::values_of(agent::to_json(list));
  REQUIRE(back);
  CHECK(*back == list);
  const sqlite::Values named =
      std::vector<std::pair<std::string, sqlite::Value>>{{"a", std::int64_t{1}}, {"b", std::string("\xff")}};
  back = agent::values_of(agent::to_json(named));
  REQUIRE(back);
  CHECK(*back == named);

  sqlite::Rows rows{
      .columns = {"n", "t"}, .rows = {{std::int64_t{1}, std::string("one")}, {nullptr, 2.5}}, .changes = 3};
  auto again = agent::rows_of(agent::to_json(rows));
  REQUIRE(again);
  CHECK(again->columns == rows.columns);
  CHECK(again->rows == rows.rows);
  CHECK(again->changes == 3);
}

TEST_CASE("shapes that nobody sends are refused") {
  for (const char* text : {"18446744073709551615", "{}", "{\"base64\": \"*\"}", "{\"base64\": 1}",
                           "{\"real\": \"nan\"}", "[1]", "{\"real\": 1}"}) {
    INFO(text);
    auto json = agent::parse_answer(text);
    REQUIRE(json);
    auto value = agent::value_of(*json);
    REQUIRE_FALSE(value);
    CHECK(value.error().is("agent.protocol"));
  }
  for (const char* text : {"1", "\"x\"", "[{}]", "{\"a\": [1]}"}) {
    INFO(text);
    CHECK_FALSE(agent::values_of(*agent::parse_answer(text)));
  }
  for (const char* text :
       {"{}", "[]", "{\"columns\": [\"a\"], \"rows\": [[1, 2]], \"changes\": 0}",
        "{\"columns\": [1], \"rows\": [], \"changes\": 0}", "{\"columns\": [], \"rows\": [1], \"changes\": 0}",
        "{\"columns\": [], \"rows\": [], \"changes\": \"0\"}",
        "{\"columns\": [\"a\"], \"rows\": [[[]]], \"changes\": 0}"}) {
    INFO(text);
    auto rows = agent::rows_of(*agent::parse_answer(text));
    REQUIRE_FALSE(rows);
    CHECK(rows.error().is("agent.protocol"));
  }
}

TEST_CASE("an error keeps its kind, what it carries and its causes, and steers no terminal") {
  core::Error error{.kind = "sqlite.busy", .message = "busy \x1b[31mred", .hint = "wait"};
  error.details["waited_ms"] = std::int64_t{300};
  error.details["holder_command"] = std::string("ruby");
  error = core::wrap(std::move(error), {.kind = "sqlite.io", .message = "disk"});
  const core::Error back = agent::error_of(*agent::parse_answer(json::dump(json::to_json(error))));
  CHECK(back.kind == "sqlite.busy");
  CHECK(back.message == "busy red");
  CHECK(back.hint == "wait");
  CHECK(std::get<std::int64_t>(back.details.at("waited_ms")) == 300);
  CHECK(std::get<std::string>(back.details.at("holder_command")) == "ruby");
  REQUIRE(back.cause);
  CHECK(back.cause->kind == "sqlite.io");

  CHECK(agent::error_of(Json("text")).is("agent.protocol"));
  Json deep{{"kind", "x.y"}};
  for (int level = 0; level < 25; ++level) deep = Json{{"kind", "x.y"}, {"cause", deep}};
  int causes = 0;
  const core::Error cut = agent::error_of(deep);
  for (const core::Error* at = &cut; at->cause; at = at->cause.get()) ++causes;
  CHECK(causes == 8);
}

TEST_CASE("lines have limits") {
  CHECK_FALSE(agent::parse_request(std::string(agent::kLongestRequest + 1, ' ')));
  CHECK_FALSE(agent::parse_request(std::string(40, '[') + std::string(40, ']')));
  CHECK_FALSE(agent::parse_request("{\"id\": 1, \"id\": 2}"));
  CHECK(agent::parse_request("{\"id\": 1}"));
}
