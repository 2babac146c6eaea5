#include "core/text.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>

#include "core/error.hpp"
#include "core/quote.hpp"

using namespace deployrun::core;
using namespace std::string_literals;

namespace {

std::string clean_in_pieces(const std::string& bytes, std::size_t size) {
  OutputCleaner cleaner;
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += size) text += cleaner.feed(std::string_view(bytes).substr(i, size));
  return text + cleaner.finish();
}

struct Case {
  std::string bytes;
  std::string text;
};

const Case kCases[] = {
    {"plain text\n\twith a tab\n", "plain text\n\twith a tab\n"},
    {"\x1b[31mred\x1b[0m", "red"},
    {"\x1b[38;2;1;2;3mtrue colour", "true colour"},
    {"\x1b[2J\x1b[Hcleared", "cleared"},
    {"\x1b]0;title\x07"
     "after",
     "after"},
    {"\x1b]52;c;ZXZpbA==\x1b\\clipboard", "clipboard"},
    {"\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\", "link"},
    {"\x1bP+q544e\x1b\\dcs", "dcs"},
    {"\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\x", "x"},
    {"\x1b(Bcharset\x1b#8", "charset"},
    {"\x1b"
     "7saved\x1b"
     "8\x1b=",
     "saved"},
    {"\x1b\x1b[31mtwo", "two"},
    {"\x1b[3\x1b[1mnested", "nested"},
    {"\x1b[3\nline", "\nline"},
    {"\x1b]0;never ends\nnext", "\nnext"},
    {"\x1b]0;a\x18"
     "b",
     "b"},
    {"a\x1b", "a"},
    {"bell\x07 nul\0 del\x7f back\x08"s, "bell nul del back"},
    {"\xc2\x9b"
     "31mC1 csi",
     "C1 csi"},
    {"\xc2\x9d"
     "0;t\xc2\x9c"
     "C1 osc",
     "C1 osc"},
    {"\xc2\x85nel", "nel"},
    {"\x9b"
     "31m",
     "\xef\xbf\xbd"
     "31m"},
    {"bad \xff\xfe utf", "bad \xef\xbf\xbd\xef\xbf\xbd utf"},
    {"cut \xe2\x82", "cut \xef\xbf\xbd"},
    {"cut \xe2\x82z", "cut \xef\xbf\xbdz"},
    {"\xe2\x82\xac and \xf0\x9f\x9a\x80", "\xe2\x82\xac and \xf0\x9f\x9a\x80"},
    {"over\xc0\xaflong", "over\xef\xbf\xbd\xef\xbf\xbdlong"},
    {"sur\xed\xa0\x80rogate", "sur\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdrogate"},
    {"bidi \xe2\x80\xaetxt.exe\xe2\x81\xa9", "bidi txt.exe"},
    {"zero\xe2\x80\x8bwidth\xef\xbb\xbf", "zerowidth"},
    {"sep\xe2\x80\xa8line", "sepline"},
    {"tag\xf3\xa0\x81\xa1", "tag"},
    {"one\r\ntwo\r\n", "one\ntwo\n"},
    {"10%\r50%\r100%\n", "10%\n50%\n100%\n"},
    {"\rstart", "start"},
    {"end\r", "end"},
    {"x\r\r\ny", "x\ny"},
    {"x\r\x1b[Ky", "x\ny"},
    {"::set-output name=a::b\n", ": :set-output name=a::b\n"},
    {"  \t::error::x", "  \t: :error::x"},
    {"\xc2\xa0::add-mask::x", "\xc2\xa0: :add-mask::x"},
    {":\x1b[0m:stop-commands::t", ": :stop-commands::t"},
    {"std::string x::y", "std::string x::y"},
    {"line\n:::x", "line\n: ::x"},
    {": ::a", ": ::a"},
    {"in ##[group]x", "in ## [group]x"},
    {"#\xe2\x80\x8b#\x1b[m[error]", "## [error]"},
    {"###[x] #[y]", "### [x] #[y]"},
};

}  // namespace

TEST_CASE("output is cleaned, whole and in pieces of any size") {
  for (const Case& one : kCases) {
    INFO(one.bytes);
    CHECK(clean(one.bytes) == one.text);
    for (std::size_t size = 1; size < one.bytes.size(); ++size) CHECK(clean_in_pieces(one.bytes, size) == one.text);
  }
}

TEST_CASE("every byte pair comes out as valid UTF-8 without controls") {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes{'a', static_cast<char>(first), static_cast<char>(second), 'z'};
      const std::string text = clean(bytes);
      REQUIRE(is_utf8(text));
      for (const char byte : text) {
        const auto value = static_cast<unsigned char>(byte);
        REQUIRE((value >= 0x20 || byte == '\n' || byte == '\t'));
        REQUIRE(value != 0x7F);
      }
    }
  }
}

TEST_CASE("a finished cleaner is as new") {
  OutputCleaner cleaner;
  CHECK(cleaner.feed("x\x1b]0;open").append(cleaner.finish()) == "x");
  CHECK(cleaner.feed("::again") == ": :again");
}

TEST_CASE("to_utf8 replaces each maximal subpart and keeps the rest") {
  CHECK(to_utf8("a\x1b[0m") == "a\x1b[0m");
  CHECK(to_utf8("\xf0\x9f\x9a") == "\xef\xbf\xbd");
  CHECK(to_utf8("\xf0\x9f\x9ax") == "\xef\xbf\xbdx");
  CHECK(to_utf8("\xe2\x28\xa1") == "\xef\xbf\xbd(\xef\xbf\xbd");
  CHECK(to_utf8("\xc3\xa9") == "\xc3\xa9");
  CHECK_FALSE(is_utf8("\xc3"));
}

TEST_CASE("utf8_sequence and append_utf8 agree on every code point") {
  for (char32_t point = 0; point <= 0x10FFFF; point = point + 0x61) {
    if (point >= 0xD800 && point <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, point);
    char32_t read = 0;
    REQUIRE(utf8_sequence(text, read) == static_cast<int>(text.size()));
    REQUIRE(read == point);
  }
  char32_t point = 0;
  CHECK(utf8_sequence("\xf4\x90\x80\x80", point) == 0);
}

TEST_CASE("trim, lines, split, tail") {
  CHECK(trim(" \t a b \r\n") == "a b");
  CHECK(trim("  ").empty());
  CHECK(lines("a\r\nb\n\nc") == std::vector<std::string_view>{"a", "b", "", "c"});
  CHECK(lines("").empty());
  CHECK(lines("a\n") == std::vector<std::string_view>{"a"});
  CHECK(split("a,,b", ',') == std::vector<std::string_view>{"a", "", "b"});
  CHECK(split("", ',') == std::vector<std::string_view>{""});
  CHECK(tail("short", 10) == "short");
  CHECK(tail("first\nsecond line", 13) == "second line");
  CHECK(tail("aaaa\xe2\x82\xac", 2).empty());
  CHECK(equals_ignoring_case("Content-Type", "content-type"));
  CHECK_FALSE(equals_ignoring_case("a", "ab"));
  CHECK(lower("A\xc3\x84Z") == "a\xc3\x84z");
}

TEST_CASE("percent_encode keeps unreserved characters") {
  CHECK(percent_encode("a-b_c.d~e/f g\xc3\xa9") == "a-b_c.d~e%2Ff%20g%C3%A9");
  CHECK(percent_encode("a/b?", "/") == "a/b%3F");
}

TEST_CASE("shell_quote leaves safe words and quotes the rest") {
  CHECK(shell_quote("plain-1.2:3/x") == "plain-1.2:3/x");
  CHECK(shell_quote("") == "''");
  CHECK(shell_quote("two words") == "'two words'");
  CHECK(shell_quote("it's") == "'it'\\''s'");
  CHECK(shell_quote("${HOME}") == "'${HOME}'");
  CHECK(shell_quote("~") == "'~'");
  CHECK(shell_quote("a=b") == "'a=b'");
  CHECK(shell_join({"docker", "run", "a b"}) == "docker run 'a b'");
  CHECK_THROWS_AS(shell_quote(std::string("a\0b", 3)), Failure);
}
