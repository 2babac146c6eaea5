#include "core/redactor.hpp"

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <random>

#include "core/base64.hpp"
#include "core/quote.hpp"
#include "core/text.hpp"

using namespace deployrun::core;

namespace {

std::string random_value(std::mt19937& random, std::size_t size) {
  // What generators of passwords use, and what makes escaping hard.
  constexpr std::string_view kBytes = "abcXYZ019-_+/=.:@!$%&*'\"\\ <>(){}[]#;|^~`?,";
  std::string value;
  while (value.size() < size) value += kBytes[random() % kBytes.size()];
  value.front() = 'q';  // no white space at the ends: trimming is tested apart
  value.back() = 'Z';
  return value;
}

std::string in_pieces(const Redactor& redactor, std::string_view text, std::mt19937& random) {
  Redactor::Stream stream(redactor);
  std::string result;
  while (!text.empty()) {
    const std::size_t size = std::min<std::size_t>(text.size(), 1 + random() % 9);
    result += stream.feed(text.substr(0, size));
    text.remove_prefix(size);
  }
  return result + stream.finish();
}

}  // namespace

TEST_CASE("200 random secrets are masked in every form, whole and in pieces") {
  std::mt19937 random(20261121);
  for (int round = 0; round < 200; ++round) {
    const std::string value = random_value(random, 6 + random() % 60);
    Redactor redactor;
    REQUIRE(redactor.add(Secret("KEY", std::string(value))));
    std::string json_value;
    for (const char c : value) json_value += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    std::string python_quoted = "'";
    for (const char c : value) python_quoted += c == '\'' ? std::string("'\"'\"'") : std::string(1, c);
    python_quoted += "'";
    const std::string forms[] = {value,
                                 base64_encode(value),
                                 base64_encode("u" + value),
                                 base64_encode("us" + value + "tail"),
                                 base64_encode("user:" + value),
                                 base64_encode(value, Base64::url),
                                 base64_encode("ab" + value, Base64::url),
                                 hex_encode(value),
                                 percent_encode(value),
                                 "{\"k\":\"" + json_value + "\"}",
                                 shell_quote(value),
                                 python_quoted};
    for (const std::string& form : forms) {
      INFO(value << " in " << form);
      const std::string masked = redactor.redact("before " + form + " after");
      CHECK(masked.find("[secret:KEY]") != std::string::npos);
      CHECK(masked.starts_with("before "));
      CHECK(masked.ends_with(" after"));
      CHECK(masked.find(value) == std::string::npos);
      CHECK(in_pieces(redactor, "before " + form + " after", random) == masked);
    }
  }
}

TEST_CASE("Go's and Ruby's escapes are known") {
  Redactor redactor;
  redactor.add(Secret("K", std::string("p<a&ss>w/\xc3\xa9")));
  CHECK(redactor.redact("p\\u003ca\\u0026ss\\u003ew/\xc3\xa9") == "[secret:K]");
  CHECK(redactor.redact("p<a&ss>w\\/\xc3\xa9") == "[secret:K]");
  CHECK(redactor.redact("p<a&ss>w/\\u00e9") == "[secret:K]");
  CHECK(redactor.redact("p\\<a\\&ss\\>w/\xc3\xa9") == "[secret:K]");
}

TEST_CASE("trimmed, and each line of a longer secret") {
  Redactor redactor;
  redactor.add(Secret("PEM", std::string("-----BEGIN KEY-----\nabcdefghij\nklmnopqrst\nuv\n-----END KEY-----\n")));
  redactor.add(Secret("NL", std::string("  trailing-newline\n")));
  CHECK(redactor.redact("x klmnopqrst x") == "x [secret:PEM] x");
  CHECK(redactor.redact("-----BEGIN KEY-----") == "-----BEGIN KEY-----");
  CHECK(redactor.redact("uv") == "uv");
  CHECK(redactor.redact("[trailing-newline]") == "[[secret:NL]]");
}

TEST_CASE("base64 that was broken into lines") {
  std::string value;
  for (int i = 0; i < 150; ++i) value += static_cast<char>('!' + i % 90);
  Redactor redactor;
  redactor.add(Secret("LONG", std::string(value)));
  const std::string text = base64_encode(value);
  for (const std::size_t width : {std::size_t{64}, std::size_t{76}}) {
    for (std::size_t i = 0; i + width <= text.size(); i += width) {
      CHECK(redactor.redact(text.substr(i, width)) == "[secret:LONG]");
    }
  }
}

TEST_CASE("short values are refused, and mask nothing") {
  Redactor redactor;
  CHECK_FALSE(redactor.add(Secret("SHORT", std::string("12345"))));
  CHECK(redactor.empty());
  CHECK(redactor.redact("12345") == "12345");
  CHECK(redactor.add(Secret("SIX", std::string("123456"))));
  CHECK(redactor.redact("123456") == "[secret:SIX]");
}

TEST_CASE("overlapping secrets leave nothing of either") {
  Redactor redactor;
  redactor.add(Secret("A", std::string("abcdef123")));
  redactor.add(Secret("B", std::string("123xyz789")));
  redactor.add(Secret("C", std::string("abcdef123-longer")));
  CHECK(redactor.redact("<abcdef123xyz789>") == "<[secret:A]>");
  CHECK(redactor.redact("<abcdef123-longer>") == "<[secret:C]>");
  CHECK(redactor.redact("abcdef123 123xyz789") == "[secret:A] [secret:B]");
}

TEST_CASE("registering twice changes nothing") {
  Redactor redactor;
  redactor.add(Secret("A", std::string("one value")));
  const std::size_t forms = redactor.forms().size();
  CHECK(redactor.add(Secret("B", std::string("one value"))));
  CHECK(redactor.forms().size() == forms);
  CHECK(redactor.redact("one value") == "[secret:A]");
}

TEST_CASE("who masks by itself hears of every form once") {
  Redactor redactor;
  std::vector<std::string> heard;
  redactor.on_form([&](std::string_view form) { heard.emplace_back(form); });
  redactor.add(Secret("A", std::string("one value")));
  redactor.add(Secret("B", std::string("one value")));
  redactor.add(Secret("SHORT", std::string("1234")));
  const auto forms = redactor.forms();
  CHECK(heard == std::vector<std::string>(forms.begin(), forms.end()));
  CHECK(heard.at(0) == "one value");
}

TEST_CASE("the stream holds back only a possible beginning") {
  Redactor redactor;
  redactor.add(Secret("A", std::string("s3cr3t-value")));
  Redactor::Stream stream(redactor);
  CHECK(stream.feed("hello ") == "hello ");
  CHECK(stream.feed("s3cr") == "");
  CHECK(stream.feed("xx") == "s3crxx");
  CHECK(stream.feed("a s3cr3t-va") == "a ");
  CHECK(stream.feed("lue b") == "[secret:A] b");
  CHECK(stream.feed("s3cr3t") == "");
  CHECK(stream.finish() == "s3cr3t");
}

TEST_CASE("a stream of a secret that repeats itself does not pile up") {
  Redactor redactor;
  redactor.add(Secret("A", std::string("aaaaaa")));
  Redactor::Stream stream(redactor);
  std::string text;
  for (int i = 0; i < 1000; ++i) text += stream.feed("aaa");
  text += stream.feed("b");
  CHECK(text + stream.finish() == "[secret:A]b");
}

TEST_CASE("pieces give what the whole gives, whatever is cut") {
  std::mt19937 random(7);
  Redactor redactor;
  redactor.add(Secret("A", std::string("ababab-ab")));
  redactor.add(Secret("B", std::string("bababa")));
  redactor.add(Secret("C", std::string("ab-abab-abab")));
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t i = random() % 60; i > 0; --i) text += "ab-"[random() % 3];
    INFO(text);
    REQUIRE(in_pieces(redactor, text, random) == redactor.redact(text));
  }
}

TEST_CASE("masking is fast enough for every log", "[.bench]") {
  std::mt19937 random(1);
  Redactor redactor;
  for (int i = 0; i < 30; ++i) redactor.add(Secret("S" + std::to_string(i), random_value(random, 32)));
  std::string text;
  while (text.size() < (1U << 20U))
    text += "2026-11-21T09:00:00Z INFO request id=" + std::to_string(random()) + " path=/api/items\n";
  const auto start = std::chrono::steady_clock::now();
  CHECK(redactor.redact(text) == text);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  WARN("1 MiB with 30 secrets: " << took.count() << " ms");
}
