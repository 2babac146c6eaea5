#include "docker/frames.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace deployrun;
using docker::Demultiplexer;
using docker::JsonLines;
using docker::Lines;
using docker::Source;

namespace {

std::string frame(char stream, const std::string& payload) {
  std::string bytes = {stream, 0, 0, 0};
  for (const unsigned shift : {24U, 16U, 8U, 0U}) bytes += static_cast<char>((payload.size() >> shift) & 0xffU);
  return bytes + payload;
}

struct Split {
  std::string out, err;
  Demultiplexer frames{[this](Source source, std::string_view bytes) { (source == Source::err ? err : out) += bytes; }};
};

}  // namespace

TEST_CASE("frames are taken apart wherever the pieces are cut") {
  const std::string whole = frame(1, "hello\n") + frame(2, "oh no\n") + frame(1, "") + frame(1, std::string(300, 'x'));
  for (std::size_t piece = 1; piece <= whole.size(); ++piece) {
    Split split;
    for (std::size_t at = 0; at < whole.size(); at += piece)
      split.frames.feed(std::string_view(whole).substr(at, piece));
    INFO("pieces of " << piece);
    CHECK(split.out == "hello\n" + std::string(300, 'x'));
    CHECK(split.err == "oh no\n");
    CHECK_FALSE(split.frames.incomplete());
  }
}

TEST_CASE("a stream that was cut is noticed") {
  Split split;
  split.frames.feed(std::string_view(frame(1, "hello")).substr(0, 4));
  CHECK(split.frames.incomplete());
  split.frames.feed(std::string_view(frame(1, "hello")).substr(4, 6));
  CHECK(split.frames.incomplete());
  CHECK(split.out == "he");
}

TEST_CASE("a terminal's output has no frames and is passed on") {
  const std::string text = "\x1b[1mprompt$ \x1b[0m";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    Split split;
    for (std::size_t at = 0; at < text.size(); at += piece) split.frames.feed(std::string_view(text).substr(at, piece));
    CHECK(split.out == text);
  }
  Split near;  // begins like a frame, is none
  near.frames.feed(std::string_view("\x01\0x", 3));
  CHECK(near.out == std::string("\x01\0x", 3));
}

TEST_CASE("lines are joined per source") {
  std::vector<std::string> lines;
  Lines joined(
      [&](Source source, std::string text) { lines.push_back((source == Source::err ? "err:" : "out:") + text); });
  joined.feed(Source::out, "one\r\ntw");
  joined.feed(Source::err, "oops");
  joined.feed(Source::out, "o\n\nthree");
  joined.finish();
  joined.finish();
  CHECK(lines == std::vector<std::string>{"out:one", "out:two", "out:", "out:three", "err:oops"});

  lines.clear();
  joined.feed(Source::out, std::string(200'000, 'x'));
  joined.feed(Source::out, "\n");
  std::size_t total = 0;
  for (const std::string& line : lines) {
    CHECK(line.size() <= (64U << 10U) + 4);
    total += line.size() - 4;
  }
  CHECK(total == 200'000);
}

TEST_CASE("JSON lines are read wherever the pieces are cut") {
  const std::string whole = "{\"status\":\"Pulling\"}\r\n\r\n{\"id\":\"a\\n\"}\n[1]";
  for (std::size_t piece = 1; piece <= whole.size(); ++piece) {
    std::vector<std::string> values;
    JsonLines lines([&](const json::Json& value) { values.push_back(value.dump()); });
    for (std::size_t at = 0; at < whole.size(); at += piece)
      REQUIRE(lines.feed(std::string_view(whole).substr(at, piece)));
    REQUIRE(lines.finish());
    CHECK(values == std::vector<std::string>{R"({"status":"Pulling"})", R"({"id":"a\n"})", "[1]"});
  }
}

TEST_CASE("a line that is not JSON or has no end is refused") {
  JsonLines broken([](const json::Json&) {});
  const auto wrong = broken.feed("{\"a\":1}\n{oops}\n");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().kind == "json.parse");

  JsonLines endless([](const json::Json&) {});
  core::Result<core::Unit> fed = core::Unit{};
  for (int piece = 0; fed && piece < 100; ++piece) fed = endless.feed(std::string(64U << 10U, ' '));
  REQUIRE_FALSE(fed);
  CHECK(fed.error().kind == "docker.protocol");

  JsonLines cut([](const json::Json&) {});
  REQUIRE(cut.feed("{\"a\":"));
  CHECK_FALSE(cut.finish());
}
