#include "http/wait_healthy.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "http/observer.hpp"
#include "http/probe.hpp"
#include "scripted.hpp"

using namespace deployrun;
using test::http_reply;
using test::run;
using test::Server;

namespace {

struct Fixture {
  core::Loop loop;
  std::vector<std::string> answers;  // one after the other, the last again and again; empty: no answer
  std::size_t asked = 0;
  Server server{
      loop, [this](const std::string&) { return answers[std::min(asked++, answers.size() - 1)]; }, {}, {}, {}};
  http::Client client{loop};
  http::Request request;
  http::Patience patience{.interval = core::Milliseconds(5),
                          .max_interval = core::Milliseconds(20),
                          .within = core::Milliseconds(5000),
                          .seed = 1};

  Fixture() {
    request.url = "http://app.internal/up?key=hidden";
    request.route = client.route(server.dial());
    request.host = "web1";
  }
  core::Result<http::Healthy> wait(http::Expectation expectation = {}) {
    http::WaitHealthy waiting(client, request, std::move(expectation), patience);
    return run(loop, waiting);
  }
  static std::string text(const core::Error& error, const char* key) {
    return std::get<std::string>(error.details.at(key));
  }
  static std::int64_t number(const core::Error& error, const char* key) {
    return std::get<std::int64_t>(error.details.at(key));
  }
};

}  // namespace

TEST_CASE("waiting ends with the first healthy answer") {
  Fixture f;
  f.answers = {http_reply(503, "starting"), http_reply(503, "starting"), http_reply(200, "ok")};
  const auto healthy = f.wait();
  REQUIRE(healthy);
  CHECK(healthy->attempts == 3);
  CHECK(healthy->reply.body == "ok");
  CHECK(healthy->history.find("503 \"starting\" (×2") != std::string::npos);
}

TEST_CASE("successes must follow each other") {
  Fixture f;
  f.patience.successes = 3;
  f.answers = {http_reply(200, ""), http_reply(200, ""), http_reply(503, ""), http_reply(200, "")};
  const auto healthy = f.wait();
  REQUIRE(healthy);
  CHECK(healthy->attempts == 6);
}

TEST_CASE("attempts come at the interval at first, then at a share of the time that has passed") {
  Fixture f;
  f.patience.within = core::Milliseconds(1500);
  f.patience.jitter = 0;
  f.answers = {http_reply(503, "")};
  f.patience.share = 0;
  REQUIRE_FALSE(f.wait());
  const std::size_t even = f.asked;
  f.asked = 0;
  f.patience.share = 1;
  f.patience.max_interval = core::Milliseconds(1000);
  REQUIRE_FALSE(f.wait());  // 5, 10, 20, 40, 80, 160, 320, 640 ms
  CHECK(f.asked <= 11);
  CHECK(even > f.asked);
}

TEST_CASE("the failure tells the whole story") {
  Fixture f;
  f.patience.interval = core::Milliseconds(500);  // pauses of 417 and 578 ms with the test's seed: time is up in one
  f.patience.within = core::Milliseconds(900);
  f.answers = {http_reply(503, "boot\x1b[2Jing"), http_reply(301, "", "Location: https://app.internal/up\r\n")};
  const auto failed = f.wait();
  REQUIRE_FALSE(failed);
  const core::Error& error = failed.error();
  CHECK(error.kind == "http.unhealthy");
  CHECK(error.host == "web1");
  CHECK(error.message.find("http://app.internal/up?…: not healthy within 900 ms: ") == 0);
  CHECK(error.message.find("last: 301 → https://app.internal/up") != std::string::npos);
  CHECK(f.number(error, "attempts") == static_cast<std::int64_t>(f.asked));
  CHECK(f.number(error, "status") == 301);
  CHECK(f.text(error, "first") == "503 \"booting\"");
  CHECK(f.text(error, "history").find(" s 503 \"booting\"\n+") == 4);
  CHECK(f.text(error, "history").find(" s 301 → ") != std::string::npos);
  CHECK(core::describe(error).find("hidden") == std::string::npos);
}

TEST_CASE("an attempt without an answer is given up and tried again") {
  Fixture f;
  f.patience.attempt_timeout = core::Milliseconds(500);
  f.answers = {"", http_reply(200, "")};
  const auto healthy = f.wait();
  REQUIRE(healthy);
  CHECK(healthy->attempts == 2);
  CHECK(healthy->history.find("no answer within 500 ms") != std::string::npos);
  CHECK(f.server.wires[0]->closed);
}

TEST_CASE("the attempt under way when time is up belongs to the story") {
  Fixture f;
  f.patience.within = core::Milliseconds(60);
  f.answers = {""};
  const auto failed = f.wait();
  REQUIRE_FALSE(failed);
  CHECK(f.text(failed.error(), "last").find("no answer yet after ") == 0);
  CHECK(f.number(failed.error(), "status") == 0);
}

TEST_CASE("a dial that fails is an outcome with its reason") {
  Fixture f;
  f.patience.interval = f.patience.refused_interval = core::Milliseconds(2000);  // time is up in a pause
  f.patience.within = core::Milliseconds(500);
  f.answers = {""};
  f.server.refuse = core::Error{.kind = "ssh.channel", .message = "open channel: connect failed"};
  const auto failed = f.wait();
  REQUIRE_FALSE(failed);
  CHECK(f.text(failed.error(), "last") == "no connection: open channel: connect failed");
}

TEST_CASE("a request that cannot be sent ends the waiting at once") {
  Fixture f;
  f.request.url = "gopher://app/";
  const auto failed = f.wait();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().kind == "usage");
}

TEST_CASE("waiting is cancelled in an attempt and in a pause") {
  Fixture f;
  f.answers = {http_reply(503, ""), ""};
  f.patience.interval = f.patience.max_interval = core::Milliseconds(100'000);
  const bool in_pause = GENERATE(true, false);
  if (!in_pause) f.asked = 1;
  http::WaitHealthy waiting(f.client, f.request, {}, f.patience);
  std::vector<std::string> kinds;
  waiting.start([&](auto result) { kinds.push_back(result ? "ok" : result.error().kind); });
  test::run_until(f.loop, [&] { return f.server.requests.size() == 1; });
  test::settle(f.loop);
  waiting.cancel();
  waiting.cancel();
  test::settle(f.loop);
  CHECK(kinds == std::vector<std::string>{"cancelled"});
}

TEST_CASE("a probe gives the answer and what it lacks") {
  Fixture f;
  f.answers = {http_reply(200, std::string(100'000, 'x'))};
  http::Expectation expectation;
  expectation.headers = {{"X-Version", "v2"}};
  http::Probe probe(f.client, f.request, expectation);
  const auto probed = run(f.loop, probe);
  REQUIRE(probed);
  CHECK(probed->reply.status == 200);
  CHECK(probed->reply.body.size() == http::kProbeBody);
  CHECK(probed->unmet == "no header X-Version");
}

TEST_CASE("the observer counts answers, failures and the longest gap") {
  Fixture f;
  bool up = true;
  f.server.answer = [&](const std::string&) { return up ? http_reply(200, "") : http_reply(502, "bad gateway"); };
  auto observer =
      std::make_shared<http::Observer>(f.client, f.request, http::Expectation{}, http::ObserverOptions{.rate = 500});
  const auto until = [&](std::uint64_t requests) {
    test::run_until(f.loop, [&] { return observer->snapshot().requests >= requests; });
  };
  until(50);
  up = false;
  const auto down = core::Loop::now();
  test::run_until(f.loop, [&] {
    const auto now = observer->snapshot();
    return now.requests >= 100 && now.failures >= 25 && core::Loop::now() - down >= core::Milliseconds(120);
  });
  up = true;
  until(observer->snapshot().requests + 50);
  auto stop = observer->stop();
  const auto seen = run(f.loop, *stop);
  REQUIRE(seen);
  CHECK(seen->requests >= 150);
  CHECK(seen->failures >= 25);
  CHECK(seen->by_status.at(502) == seen->failures);
  CHECK(seen->by_status.at(200) + seen->failures == seen->requests);
  CHECK(seen->longest_gap_ms >= 80);
  CHECK(seen->gap_at_ms > 0);
  CHECK(seen->reused > 0);
  CHECK(f.request.route->dials() > 50);
  CHECK(seen->first_failures.size() == http::Observation::kFirstFailures);
  CHECK(seen->first_failures[0].reason == "502 \"bad gateway\"");
  CHECK(seen->p50_ms > 0);
  CHECK(seen->p99_ms >= seen->p50_ms);

  auto again = observer->stop();
  const auto same = run(f.loop, *again);
  REQUIRE(same);
  CHECK(same->requests == seen->requests);
}

TEST_CASE("an observer whose requests hang says so, and can be dropped in mid-flight") {
  Fixture f;
  f.answers = {""};
  auto observer = std::make_shared<http::Observer>(
      f.client, f.request, http::Expectation{},
      http::ObserverOptions{.rate = 200, .fresh = 0, .timeout = core::Milliseconds(50)});
  test::run_until(f.loop, [&] { return observer->snapshot().failures >= 3; });
  CHECK(observer->snapshot().first_failures[0].reason == "no answer within 50 ms");
  SECTION("destroyed") { observer.reset(); }
  SECTION("its stop is cancelled") {
    auto stop = observer->stop();
    std::string kind;
    stop->start([&](auto result) { kind = result ? "ok" : result.error().kind; });
    stop->cancel();
    CHECK(kind == "cancelled");
  }
  test::settle(f.loop);
}
