#include "yaml/document.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <ctime>

using namespace deployrun;
using json::Json;

namespace {

Json read(std::string_view text) {
  auto document = yaml::parse(text, "f.yml");
  if (!document.ok()) FAIL(document.error().message);
  return yaml::to_json(document->root);
}

/// What this thread has worked, in seconds: a busy machine does not count.
double worked() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

core::Error refused(std::string_view text) {
  const double before = worked();
  auto document = yaml::parse(text, "f.yml");
  CHECK(worked() - before < 2);  // 0.1 without a sanitizer
  REQUIRE_FALSE(document.ok());
  CHECK(document.error().details.count("line") == 1);
  CHECK(document.error().message.starts_with("f.yml:"));
  return document.error();
}

std::string message(std::string_view text) { return refused(text).message; }

std::string bomb(int levels) {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < levels; ++i) {
    const std::string name = "a" + std::to_string(i);
    text += name + ": &" + name + " [";
    for (int k = 0; k < 10; ++k) text += (k > 0 ? ",*a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  return text;
}

}  // namespace

TEST_CASE("a configuration as people write it") {
  const Json value = read(R"(
# a comment
service: shop
servers:
  web:
    - 10.99.0.1
    - "10.99.0.2"
  workers: [10.99.0.3]
env: {clear: {PORT: "3000", DEBUG: true}, empty: }
text: |
  two
  lines
folded: >-
  one
  line
)");
  CHECK(value["service"] == "shop");
  CHECK(value["servers"]["web"] == Json::array({"10.99.0.1", "10.99.0.2"}));
  CHECK(value["env"]["clear"]["PORT"] == "3000");
  CHECK(value["env"]["clear"]["DEBUG"] == true);
  CHECK(value["env"]["empty"].is_null());
  CHECK(value["text"] == "two\nlines\n");
  CHECK(value["folded"] == "one line");
}

TEST_CASE("the core schema of YAML 1.2") {
  for (const char* text : {"", "~", "null", "Null", "NULL"}) CHECK(read(std::string("a: ") + text)["a"].is_null());
  for (const char* text : {"true", "True", "TRUE"}) CHECK(read(text) == true);
  for (const char* text : {"false", "False", "FALSE"}) CHECK(read(text) == false);
  CHECK(read("-12") == -12);
  CHECK(read("+12") == 12);
  CHECK(read("0o17") == 15);
  CHECK(read("0x1F") == 31);
  CHECK(read("0x1F").is_number_integer());
  CHECK(read("18446744073709551615") == 18446744073709551615U);
  CHECK(read("1.5") == 1.5);
  CHECK(read("-.5e2") == -50.0);
  CHECK(read("1.") == 1.0);
  CHECK(read("1e3").is_number_float());
  CHECK(std::isinf(read(".inf").get<double>()));
  CHECK(read("-.INF").get<double>() < 0);
  CHECK(std::isnan(read(".nan").get<double>()));
  for (const char* text : {"yes",   "no",  "on",  "off", "y",   "1:30", "2026-11-21", "tRue", "1.2.3", "0b1", "+", ".",
                           "1_000", "--1", "+-1", "0o8", "0xg", "1e",   "1e999",      "e1",   "-.nan", "nil"}) {
    INFO(text);
    CHECK(read(std::string("a: ") + text)["a"].is_string());
  }
}

TEST_CASE("quoted is text; a core tag decides") {
  CHECK(read("'12'") == "12");
  CHECK(read("\"true\"") == "true");
  CHECK(read("''") == "");
  CHECK(read("!!str 12") == "12");
  CHECK(read("!!int '12'") == 12);
  CHECK(read("!!float 3") == 3.0);
  CHECK(read("! 12") == "12");
}

TEST_CASE("nodes know their place") {
  const auto document = yaml::parse("a: 1\nb:\n  - x\n  - y: \"z\"\n", "conf.yml");
  REQUIRE(document.ok());
  const yaml::Node& b = *document->root.find("b");
  CHECK(b.items[1].find("y")->line == 4);
  CHECK(b.items[1].find("y")->column == 8);
  CHECK(document->place(b.items[0]) == "conf.yml:3:5");
  CHECK(document->root.members[1].key == "b");
  CHECK(document->root.members[1].line == 2);
  CHECK(document->root.find("c") == nullptr);
}

TEST_CASE("an empty text is null, a byte order mark is no content") {
  CHECK(read("").is_null());
  CHECK(read("# only a comment\n").is_null());
  CHECK(read("\xef\xbb\xbf"
             "a: 1")["a"] == 1);
  CHECK(read("---\na: 1\n...\n")["a"] == 1);
}

TEST_CASE("aliases are expanded, merge keys applied") {
  const Json value = read(R"(
base: &base {image: app, port: 80, env: &env [a, b]}
more: &more {port: 90, user: root}
web:
  <<: *base
  port: 8080
both:
  <<: [*base, *more]
  env: *env
quoted: {"<<": text}
)");
  CHECK(value["web"] == Json({{"image", "app"}, {"port", 8080}, {"env", {"a", "b"}}}));
  CHECK(value["both"] == Json({{"image", "app"}, {"port", 80}, {"env", {"a", "b"}}, {"user", "root"}}));
  CHECK(value["quoted"]["<<"] == "text");
  CHECK(message("a: {<<: 1}").find("merges mappings only") != std::string::npos);
}

TEST_CASE("duplicate keys are errors that name both lines") {
  const core::Error error = refused("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n");
  CHECK(error.kind == "yaml.duplicate");
  CHECK(error.message == "f.yml:5:3: key 'c' stands here and in line 3");
  CHECK(std::get<std::int64_t>(error.details.at("first_line")) == 3);
  CHECK(refused("{a: 1, 'a': 2}").kind == "yaml.duplicate");
  CHECK(refused("x: {<<: {a: 1}, <<: {b: 1}}").kind == "yaml.duplicate");
}

TEST_CASE("bombs are refused before they go off") {
  CHECK(yaml::parse(bomb(4), "f.yml").ok());
  CHECK(refused(bomb(7)).kind == "yaml.limit");
  CHECK(refused(bomb(50)).kind == "yaml.limit");
  // Few values, much text.
  std::string text = "a: &a " + std::string(500'000, 'x') + "\nb: [*a";
  for (int i = 0; i < 50; ++i) text += ",*a";
  CHECK(refused(text + "]").message.find("bytes of text") != std::string::npos);
  // Anchors around anchors: each keeps a copy of all that is inside.
  std::string nested;
  for (int i = 0; i < 60; ++i) nested += "&n" + std::to_string(i) + " [";
  nested += std::string(400'000, 'y') + std::string(60, ']');
  CHECK(refused(nested).kind == "yaml.limit");
}

TEST_CASE("cycles are refused") {
  CHECK(message("&x [*x]").find("inside the value it refers to") != std::string::npos);
  CHECK(message("a: &a\n  b: {c: *a}\n") == "f.yml:2:10: the alias stands inside the value it refers to");
  CHECK(refused("a: *nowhere").kind == "yaml.parse");
}

TEST_CASE("depth is limited, before and after expansion") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(yaml::parse(nested(64), "f.yml").ok());
  CHECK(refused(nested(65)).kind == "yaml.limit");
  CHECK(refused(std::string(100'000, '[')).kind == "yaml.limit");
  CHECK(refused(std::string(100'000, '{')).kind == "yaml.limit");
  CHECK(refused(std::string(1 << 20, '[')).message == "f.yml:1:100001: more than 100000 brackets and commas");
  std::string dashes;
  for (int i = 0; i < 50'000; ++i) dashes += "- ";
  CHECK(refused(dashes).kind == "yaml.limit");
  std::string block;
  for (std::size_t i = 0; i < 500; ++i) block += std::string(i, ' ') + "a:\n";
  CHECK(refused(block).kind == "yaml.limit");
  CHECK(refused("a: &a " + nested(40) + "\nb: " + std::string(30, '[') + "*a" + std::string(30, ']')).kind ==
        "yaml.limit");
}

TEST_CASE("size and number of values are limited") {
  CHECK(refused(std::string((1 << 20) + 1, '#')).kind == "yaml.limit");
  std::string many;
  for (int i = 0; i < 100'001; ++i) many += "- a\n";
  CHECK(refused(many).kind == "yaml.limit");
  CHECK(yaml::parse(std::string(1 << 20, '#'), "f.yml").ok());
  CHECK(read("\"" + std::string(1'000'000, 'x') + "\"").get<std::string>().size() == 1'000'000);
}

TEST_CASE("what is not YAML says where") {
  CHECK(message("a: [1, 2\nb: 3\n").starts_with("f.yml:2:"));
  CHECK(message("a: b: c").starts_with("f.yml:1:5: "));
  CHECK(message("a: \"open").starts_with("f.yml:1:"));
  CHECK(message("a:\n\t- b").starts_with("f.yml:2:"));
  CHECK(message("a: \xff") == "f.yml:1:4: not UTF-8");
  CHECK(message("x\ny\x04z") == "f.yml:2:2: a control character");
  CHECK(message("a: \xe2\x82") == "f.yml:1:4: not UTF-8");
  CHECK(message("[a]: b") == "f.yml:1:1: a key must be text");
  CHECK(message("a: 1\n---\nb: 2\n").find("a second document") != std::string::npos);
  CHECK(yaml::parse("a: b: c", {}).error().message.starts_with("yaml:1:"));
}

TEST_CASE("tags that would build objects are refused") {
  CHECK(message("a: !ruby/object:Gem {}").find("'!ruby/object:Gem' is not supported") != std::string::npos);
  CHECK(message("!!python/object/apply:os.system ['id']").find("is not supported") != std::string::npos);
  CHECK(message("a: !!binary aGk=").find("is not supported") != std::string::npos);
  CHECK(message("a: !!int [1]").find("is not supported") != std::string::npos);
  CHECK(read("!!map {a: !!seq [1]}")["a"][0] == 1);
}

TEST_CASE("merge keys in the order of the file, as Ruby has them") {
  const auto merged = [](std::string_view text) {
    auto document = yaml::parse(text, "f.yml", {}, yaml::Merge::in_order);
    if (!document.ok()) FAIL(document.error().message);
    return yaml::to_json(document->root);
  };
  const std::string base = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\n";
  CHECK(merged(base + "c:\n  <<: *a\n  x: 3\n")["c"] == Json::parse(R"({"x":3,"y":1})"));
  CHECK(merged(base + "c:\n  x: 3\n  <<: *a\n")["c"] == Json::parse(R"({"x":1,"y":1})"));
  CHECK(merged(base + "c:\n  <<: [*a, *b]\n")["c"] == Json::parse(R"({"x":1,"y":1,"z":2})"));
  CHECK(merged(base + "c:\n  \"<<\": 1\n")["c"] == Json::parse(R"({"<<":1})"));
  CHECK_FALSE(yaml::parse("c: {x: 1, x: 2}", "f.yml", {}, yaml::Merge::in_order).ok());
  CHECK_FALSE(yaml::parse("c: {<<: 1}", "f.yml", {}, yaml::Merge::in_order).ok());
  // Ruby keeps the place of a key that is overwritten.
  auto document = yaml::parse(base + "c:\n  <<: *a\n  w: 0\n  x: 3\n", "f.yml", {}, yaml::Merge::in_order);
  REQUIRE(document.ok());
  CHECK(document->root.find("c")->members.front().key == "x");
  CHECK(document->root.find("c")->members.front().line == 6);
}

TEST_CASE("a key tells whether it was quoted") {
  auto document = yaml::parse("on: 1\n\"off\": 2\n", "f.yml");
  REQUIRE(document.ok());
  CHECK(document->root.members[0].plain);
  CHECK_FALSE(document->root.members[1].plain);
}
