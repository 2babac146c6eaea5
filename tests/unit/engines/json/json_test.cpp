#include "json/json.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun;
using json::Json;

namespace {

core::Error refused(std::string_view text, const json::Limits& limits = {}) {
  auto result = json::parse(text, limits, "f.json");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().kind == "json.parse");
  return result.error();
}

/// The message's line:column.
std::string place(std::string_view text) {
  const core::Error error = refused(text);
  return std::to_string(std::get<std::int64_t>(error.details.at("line"))) + ":" +
         std::to_string(std::get<std::int64_t>(error.details.at("column")));
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("every kind of value") {
  const auto value = json::parse(R"({"a":[1,-2,3.5,true,false,null,"x\u00e9\n"],"b":{"c":{}},"d":[]})");
  REQUIRE(value.ok());
  CHECK((*value)["a"].size() == 7);
  CHECK((*value)["a"][6] == "x\xc3\xa9\n");
  CHECK((*value)["b"]["c"].is_object());
  CHECK((*value)["d"].is_array());
  CHECK(*json::parse("  \"text\" ") == "text");
  CHECK(json::parse("9223372036854775807")->get<std::int64_t>() == 9223372036854775807);
}

TEST_CASE("deeply mixed containers end up where they belong") {
  const char* text = R"([{"a":[{"b":1},{"c":[2,[3,{"d":4}]]}],"e":5},[[],{}]])";
  CHECK(json::dump(*json::parse(text)) == text);
}

TEST_CASE("errors have line and column") {
  CHECK(place("") == "1:1");
  CHECK(place("{\n  \"a\": 1,\n  \"b\": x\n}") == "3:8");
  CHECK(place("[1,2") == "1:5");
  CHECK(place("{\"a\":1} x") == "1:9");
  CHECK(place("[01]") == "1:3");
  CHECK(place("{'a':1}") == "1:2");
  CHECK(place("[\"\xff\"]") == "1:3");
  CHECK(place("[\"tab\there\"]") == "1:6");
  CHECK(refused("[1,]").message.starts_with("f.json:1:4: "));
  CHECK(std::get<std::string>(refused("[1,]").details.at("source")) == "f.json");
  CHECK(json::parse("x").error().message.starts_with("json:1:1: "));
}

TEST_CASE("a key twice in one object is an error at the second") {
  CHECK(place("{\"a\":1,\n \"b\":{\"a\":2},\n \"a\":3}") == "3:2");
  CHECK(place(R"({"q\"x":1,"q\"x":2})") == "1:11");
  CHECK(refused(R"({"a":1,"a":2})").message == "f.json:1:8: key 'a' stands twice in one object");
  CHECK(json::parse(R"([{"a":1},{"a":2}])").ok());
}

TEST_CASE("limits: size, depth, number of values") {
  CHECK(json::parse(nested(64)).ok());
  CHECK(refused(nested(65)).message.find("deeper than 64") != std::string::npos);
  CHECK(refused(std::string(100'000, '[')).message.find("deeper") != std::string::npos);
  CHECK(refused("[1,2,3]", {.bytes = 6}).message.find("larger than 6") != std::string::npos);
  CHECK(json::parse("[1,2,3]", {.nodes = 4}).ok());
  CHECK(refused("[1,2,3]", {.nodes = 3}).message.find("more than 3") != std::string::npos);
}

TEST_CASE("error texts carry no control bytes of the input") {
  const core::Error error = refused("[\x1b[31m]");
  CHECK(error.message.find('\x1b') == std::string::npos);
}

TEST_CASE("dump writes what parse reads, and never throws") {
  CHECK(json::dump(Json::array({1, "a", nullptr})) == R"([1,"a",null])");
  CHECK(json::dump({{"b", 1}, {"a", Json::array()}}, true) == "{\n  \"a\": [],\n  \"b\": 1\n}");
  CHECK(json::dump(std::string("bad \xff")) == "\"bad \xef\xbf\xbd\"");
}
