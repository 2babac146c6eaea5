#include "http/expect.hpp"

#include <catch2/catch_test_macros.hpp>

#include "http/histogram.hpp"
#include "http/history.hpp"

using namespace deployrun;
using http::Expectation;
using http::Reply;
using json::Json;

namespace {

Reply reply(int status, std::string body = {}, http::Headers headers = {}) {
  Reply one;
  one.status = status;
  one.body = std::move(body);
  one.headers = std::move(headers);
  return one;
}

std::string why(const Expectation& expectation, const Reply& one) {
  return http::unmet(expectation, one).value_or("met");
}

}  // namespace

TEST_CASE("a status is a number, a range, a class or several") {
  using Ranges = std::vector<Expectation::StatusRange>;
  const auto ranges = [](std::string_view text) {
    auto parsed = http::parse_status(text);
    return parsed ? *parsed : Ranges{};
  };
  CHECK(ranges("200") == Ranges{{200, 200}});
  CHECK(ranges("200-299") == Ranges{{200, 299}});
  CHECK(ranges("2xx, 404") == Ranges{{200, 299}, {404, 404}});
  for (const char* wrong : {"", "ok", "99", "600", "299-200", "200-", "200,", "6xx", "20x"}) {
    const auto parsed = http::parse_status(wrong);
    INFO(wrong);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == "usage");
  }
}

TEST_CASE("without more, any 2xx is as expected") {
  CHECK(why({}, reply(204)) == "met");
  CHECK(why({}, reply(301)) == "status 301");
  CHECK(why({}, reply(503)) == "status 503");
}

TEST_CASE("body, headers and JSON fields are looked at, the first difference is told") {
  Expectation expectation;
  expectation.body_contains = "ready";
  expectation.headers = {{"X-Version", "v2"}, {"X-Request-Id", ""}};
  expectation.fields = {{"checks.database", "ok"}, {"/queue/0", 3}, {"up", true}};
  const std::string body = R"({"text": "ready", "checks": {"database": "ok"}, "queue": [3], "up": true})";
  CHECK(why(expectation, reply(200, body, {{"x-version", "v2"}, {"x-request-id", "7"}})) == "met");
  CHECK(why(expectation, reply(200, body, {{"x-version", "v1"}})) == "header X-Version is `v1`, not `v2`");
  CHECK(why(expectation, reply(200, body, {{"x-version", "v2"}})) == "no header X-Request-Id");
  expectation.headers.clear();
  CHECK(why(expectation, reply(200, "starting")) == "the body does not contain `ready`");
  CHECK(why(expectation, reply(200, "ready but no JSON")) == "the body is not JSON");
  CHECK(why(expectation, reply(200, R"({"text": "ready"})")) == "no field checks.database");
  CHECK(why(expectation, reply(200, R"({"text": "ready", "checks": {"database": "down"}})")) ==
        "field checks.database is \"down\", not \"ok\"");
  CHECK(why(expectation, reply(200, R"({"text": "ready", "checks": {"database": "ok"}, "queue": []})")) ==
        "no field /queue/0");
}

TEST_CASE("an answer is told in one clean line") {
  CHECK(http::summary(reply(200)) == "200");
  CHECK(http::summary(reply(503, "\x1b[31mstart\ning\x1b[0m\n")) == "503 \"start ing\"");
  Reply moved = reply(301);
  moved.redirect = "https://user:secret@example.org/up?token=x";
  CHECK(http::summary(moved) == "301 → https://example.org/up?…");
}

TEST_CASE("an excerpt is short and never cut inside a character") {
  CHECK(http::excerpt("short") == "short");
  CHECK(http::excerpt(std::string(300, 'x')).size() == 200 + std::string("…").size());
  const std::string umlauts = http::excerpt("ääääää", 5);
  CHECK(umlauts == "ää…");
  CHECK(http::excerpt("\xff\xfe") == "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("history keeps the first outcome, the latest ones, and counts repetitions") {
  http::History history;
  CHECK(history.text().empty());
  history.add(100, "connection refused");
  history.add(200, "connection refused");
  history.add(4200, "503 \"starting\"");
  CHECK(history.text() == "+0.1 s connection refused (×2, until +0.2 s)\n+4.2 s 503 \"starting\"");
  CHECK(history.first() == "connection refused");
  CHECK(history.last() == "503 \"starting\"");
  for (int index = 0; index < 100; ++index) history.add(5000 + index, "answer " + std::to_string(index));
  CHECK(history.attempts() == 103);
  CHECK(history.text().find("… 81 attempts left out") != std::string::npos);
  CHECK(history.last() == "answer 99");
  CHECK(history.text().find("answer 80") != std::string::npos);
  CHECK(history.text().find("answer 79\n") == std::string::npos);
}

TEST_CASE("percentiles are within two per cent") {
  http::Histogram histogram;
  CHECK(histogram.quantile(0.5) == 0);
  for (int ms = 1; ms <= 1000; ++ms) histogram.add(ms);
  CHECK(histogram.quantile(0.5) >= 500);
  CHECK(histogram.quantile(0.5) <= 500 * 1.03);
  CHECK(histogram.quantile(0.99) >= 990);
  CHECK(histogram.quantile(1.0) == 1000);
  CHECK(histogram.max() == 1000);
  histogram.add(1e12);
  CHECK(histogram.quantile(1.0) > 1000);
}

TEST_CASE("a certificate's days are counted, and too few are told") {
  CHECK(http::days_until("Jan  2 12:00:00 1970 GMT", 86400) == 0.5);
  CHECK(http::days_until("Jan 2 00:00:00 1970 GMT", 3 * 86400) == -2.0);
  for (const char* wrong : {"", "tomorrow", "Jan  2 12:00:00 1970", "Jan 2 12:00:00 1970 GMT+1"})
    CHECK_FALSE(http::days_until(wrong, 0));
  http::Expectation expectation;
  expectation.tls_days = 14;
  http::Reply reply;
  reply.status = 200;
  CHECK(http::unmet(expectation, reply) == "there is no certificate to look at");
  reply.tls_days = 13.25;
  CHECK(http::unmet(expectation, reply) == "the certificate ends in 13.25 days, 14 are asked for");
  reply.tls_days = 14;
  CHECK_FALSE(http::unmet(expectation, reply));
}
