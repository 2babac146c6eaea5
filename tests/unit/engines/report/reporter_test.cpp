// Events are completed, cleaned and redacted before any sink sees them.
#include "report/reporter.hpp"

#include <catch2/catch_test_macros.hpp>

#include "capture.hpp"
#include "report/json_lines.hpp"

using namespace deployrun;
using namespace deployrun::report;
using test::Capture;

namespace {

ReporterOptions options() {
  return {.clean =
              [](std::string text) {
                std::erase(text, '\x1b');
                return text;
              },
          .redact =
              [](std::string text) {
                for (std::size_t at; (at = text.find("hunter2")) != std::string::npos;)
                  text.replace(at, 7, "[secret:DB]");
                return text;
              },
          .now = [] { return std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'042)); }};
}

}  // namespace

TEST_CASE("an event gets its version, time and run; every text is cleaned before it is redacted") {
  core::Loop loop;
  Capture capture(loop);
  Reporter reporter(loop, options());
  reporter.add(std::make_unique<JsonLines>(capture.output));
  reporter.emit({{"type", "run.started"}, {"run", "r1"}, {"command", "deploy"}});
  reporter.emit({{"type", "log"},
                 {"message",
                  "pass hunt\x1b"
                  "er2"},
                 {"more", {{"hunter2", {"hunter2", 7}}}}});
  CHECK(
      capture.text() ==
      R"({"command":"deploy","run":"r1","time":"2023-11-14T22:13:20.042Z","type":"run.started","v":1})"
      "\n"
      R"({"message":"pass [secret:DB]","more":{"[secret:DB]":["[secret:DB]",7]},"run":"r1","time":"2023-11-14T22:13:20.042Z","type":"log","v":1})"
      "\n");
}

TEST_CASE("an error may be written flat; what is no event says so") {
  core::Loop loop;
  Capture capture(loop);
  Reporter reporter(loop, options());
  reporter.add(std::make_unique<JsonLines>(capture.output));
  reporter.emit({{"type", "error"}, {"kind", "ssh.auth"}, {"message", "no key"}, {"host", "web1"}});
  const Json error = Json::parse(capture.text());
  CHECK(error["error"] == Json{{"kind", "ssh.auth"}, {"message", "no key"}, {"host", "web1"}});

  for (const Json& wrong : {Json(7), Json::object(), Json{{"type", 3}}}) reporter.emit(wrong);
  CHECK(capture.text().find("an event without a type was reported") != std::string::npos);
}

TEST_CASE("a warning has one name") {
  core::Loop loop;
  Capture capture(loop);
  Reporter reporter(loop, options());
  reporter.add(std::make_unique<JsonLines>(capture.output));
  reporter.emit({{"type", "log"}, {"level", "warning"}, {"message", "m"}});
  CHECK(Json::parse(capture.text())["level"] == "warn");
}

TEST_CASE("nesting has an end") {
  core::Loop loop;
  Capture capture(loop);
  Reporter reporter(loop, options());
  reporter.add(std::make_unique<JsonLines>(capture.output));
  Json deep = 1;
  for (int i = 0; i < 200; ++i) deep = Json::array({std::move(deep)});
  reporter.emit({{"type", "log"}, {"message", deep}});
  CHECK(capture.text().find("[too deep]") != std::string::npos);
}

TEST_CASE("ticks come while tasks run and do not keep the loop alive after") {
  struct Counting final : Sink {
    explicit Counting(Reporter& to) : reporter(to) {}
    void event(const Json&) override {}
    void tick(core::Instant) override {
      ++ticks;
      reporter.emit({{"type", "task.finished"}, {"host", "web1"}, {"state", "done"}});
    }
    Reporter& reporter;
    int ticks = 0;
  };
  core::Loop loop;
  Reporter reporter(loop, options());
  auto counting = std::make_unique<Counting>(reporter);
  Counting& sink = *counting;
  reporter.add(std::move(counting));
  reporter.emit({{"type", "task.started"}, {"host", "web1"}});
  loop.run();
  CHECK(sink.ticks == 1);
}
