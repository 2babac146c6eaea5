// What people read: golden pages.
#include "report/lines.hpp"

#include <catch2/catch_test_macros.hpp>

#include "capture.hpp"

using namespace deployrun;
using namespace deployrun::report;
using test::Capture;

namespace {

std::string page(const std::vector<Json>& events, LinesOptions options = {}) {
  core::Loop loop;
  Capture capture(loop);
  Lines lines(capture.output, options);
  for (const Json& event : events) lines.event(event);
  return capture.text();
}

Json started(const char* step, int hosts) { return {{"type", "step.started"}, {"step", step}, {"hosts", hosts}}; }
Json begins(const char* step, const char* host) { return {{"type", "task.started"}, {"step", step}, {"host", host}}; }
Json ended(const char* step, const char* host, const char* state, int ms, const char* note = "") {
  Json event{{"type", "task.finished"}, {"step", step}, {"host", host}, {"state", state}, {"ms", ms}};
  if (*note != '\0') event["note"] = note;
  return event;
}

const std::vector<Json>& good_deploy() {
  static const std::vector<Json> events{
      {{"type", "run.started"},
       {"run", "20261121-092629-k3v9qd"},
       {"recipe", "recipes/prod.lua"},
       {"command", "deploy"},
       {"parameters", {{"version", "3f2c1a9"}}}},
      started("look at the hosts", 2),
      begins("look at the hosts", "web1"),
      begins("look at the hosts", "frankfurt-2"),
      ended("look at the hosts", "web1", "done", 131, "serves 9c41d07"),
      ended("look at the hosts", "frankfurt-2", "done", 140, "serves 9c41d07"),
      {{"type", "step.finished"}, {"step", "look at the hosts"}, {"state", "done"}, {"ms", 141}},
      started("pull the image", 2),
      begins("pull the image", "web1"),
      begins("pull the image", "frankfurt-2"),
      ended("pull the image", "frankfurt-2", "unchanged", 48),
      {{"type", "pull.progress"}, {"host", "web1"}, {"bytes", 20000000}, {"total", 61000000}},
      ended("pull the image", "web1", "done", 4180, "registry.example/shop:3f2c1a9"),
      {{"type", "step.finished"}, {"step", "pull the image"}, {"state", "done"}, {"ms", 4190}},
      {{"type", "shipped"}, {"app", "shop"}, {"version", "3f2c1a9"}, {"hosts", {"web1", "frankfurt-2"}}},
      {{"type", "observer.summary"},
       {"url", "https://shop.example/up"},
       {"requests", 4812},
       {"failed", 0},
       {"longest_gap_ms", 12}},
      {{"type", "run.finished"}, {"state", "done"}, {"ms", 12420}},
  };
  return events;
}

Json unhealthy() {
  const char* history =
      "+0.1 s connection refused (×3, until +0.9 s)\n+1.9 s 503 Service Unavailable (×9, until +29.8 s)";
  return {{"kind", "app.exited"},
          {"message", "shop-web-3f2c1a9 ended with exit code 1"},
          {"host", "web2"},
          {"step", "start the new container"},
          {"hint", "the log's last lines say why it ended"},
          {"container", "shop-web-3f2c1a9"},
          {"code", 1},
          {"oom_killed", false},
          {"logs", "Booting shop 3f2c1a9\nKeyError: SECRET_KEY_BASE\n"},
          {"history", history},
          {"cause",
           {{"kind", "http.unhealthy"},
            {"message", "http://172.18.0.4:3000/up: not healthy after 12 attempts in 30.0 s"},
            {"attempts", 12},
            {"history", history},
            {"hint", "an inner hint"},
            {"status", 503}}}};
}

const std::vector<Json>& bad_deploy() {
  static const std::vector<Json> events{
      started("start the new container", 2),
      begins("start the new container", "web1"),
      begins("start the new container", "web2"),
      {{"type", "task.finished"},
       {"step", "start the new container"},
       {"host", "web2"},
       {"state", "failed"},
       {"ms", 30041},
       {"error", unhealthy()}},
      ended("start the new container", "web1", "cancelled", 30044),
      {{"type", "step.finished"}, {"step", "start the new container"}, {"state", "failed"}, {"ms", 30050}},
      {{"type", "step.started"}, {"step", "start the new container"}, {"undo", true}, {"hosts", 2}},
      ended("start the new container", "web1", "undone", 412),
      ended("start the new container", "web2", "undone", 633),
      {{"type", "error"}, {"error", unhealthy()}},
      {{"type", "run.finished"}, {"state", "failed_undone"}, {"ms", 34012}},
  };
  return events;
}

}  // namespace

TEST_CASE("a deploy that goes well") {
  CHECK(page(good_deploy()) ==
        "deploy  recipes/prod.lua  run 20261121-092629-k3v9qd\n"
        "  version = 3f2c1a9\n"
        "\n"
        "look at the hosts\n"
        "  web1         done             0.1 s  serves 9c41d07\n"
        "  frankfurt-2  done             0.1 s  serves 9c41d07\n"
        "\n"
        "pull the image\n"
        "  frankfurt-2  unchanged        0.0 s\n"
        "  web1         done             4.2 s  registry.example/shop:3f2c1a9\n"
        "\n"
        "shipped  shop 3f2c1a9 on 2 hosts\n"
        "\n"
        "observed https://shop.example/up: 4812 requests, 0 failed, longest gap 12 ms\n"
        "\n"
        "done in 12.4 s: 4 tasks, 1 unchanged\n");
}

TEST_CASE("a deploy that fails tells the whole story once") {
  CHECK(page(bad_deploy()) ==
        "start the new container\n"
        "  web2   failed          30.0 s  shop-web-3f2c1a9 ended with exit code 1\n"
        "  web1   cancelled       30.0 s\n"
        "\n"
        "undo: start the new container\n"
        "  web1   undone           0.4 s\n"
        "  web2   undone           0.6 s\n"
        "\n"
        "error: shop-web-3f2c1a9 ended with exit code 1\n"
        "  in       web2, start the new container\n"
        "  probes   +0.1 s connection refused (×3, until +0.9 s)\n"
        "           +1.9 s 503 Service Unavailable (×9, until +29.8 s)\n"
        "  log      | Booting shop 3f2c1a9\n"
        "           | KeyError: SECRET_KEY_BASE\n"
        "  code     1\n"
        "  container shop-web-3f2c1a9\n"
        "  because  http://172.18.0.4:3000/up: not healthy after 12 attempts in 30.0 s\n"
        "  kind     app.exited\n"
        "  try      the log's last lines say why it ended\n"
        "\n"
        "failed after 34.0 s; all that it changed is undone\n");
}

TEST_CASE("an undo that failed says what is left and what to type") {
  CHECK(page({{{"type", "run.finished"},
               {"state", "needs_person"},
               {"ms", 61000},
               {"left", {"web2: undoing switch traffic failed: connection lost"}},
               {"next", {"deployrun recipes/prod.lua --abort"}}}}) ==
        "failed after 1 min 01 s and could not be undone: a person has to look at it\n"
        "  left: web2: undoing switch traffic failed: connection lost\n"
        "  next: deployrun recipes/prod.lua --abort\n");
}

TEST_CASE("quiet leaves data, warnings, errors and the end") {
  std::vector<Json> events = good_deploy();
  events.insert(events.begin() + 3, Json{{"type", "log"}, {"level", "info"}, {"message", "not worth it"}});
  events.insert(events.begin() + 3,
                Json{{"type", "log"}, {"level", "warn"}, {"message", "disk 91 % full"}, {"host", "web1"}});
  events.insert(events.begin() + 3, Json{{"type", "print"}, {"text", "some data\n"}});
  CHECK(page(events, {.verbosity = -1}) ==
        "some data\n"
        "  warning: web1: disk 91 % full\n"
        "\n"
        "shipped  shop 3f2c1a9 on 2 hosts\n"
        "\n"
        "observed https://shop.example/up: 4812 requests, 0 failed, longest gap 12 ms\n"
        "\n"
        "done in 12.4 s: 4 tasks, 1 unchanged\n");
}

TEST_CASE("-v shows what starts and how far it is, -vv what it says") {
  const std::vector<Json> events{
      begins("s", "web1"),
      {{"type", "pull.progress"}, {"host", "web1"}, {"bytes", 20000000}, {"total", 61000000}},
      {{"type", "probe.failed"}, {"host", "web1"}, {"ms", 104}, {"outcome", "connection refused"}},
      {{"type", "task.output"}, {"host", "web1"}, {"stream", "stdout"}, {"line", "migrating"}},
      {{"type", "log"}, {"level", "debug"}, {"message", "docker stop 3f2c"}}};
  CHECK(page(events).empty());
  CHECK(page(events, {.verbosity = 1}) ==
        "  web1   started\n"
        "  web1   20 MB of 61 MB\n"
        "  web1   probe            0.1 s  connection refused\n"
        "  docker stop 3f2c\n");
  CHECK(page(events, {.verbosity = 2}).find("  web1   | migrating\n") != std::string::npos);
}

TEST_CASE("-v shows SSH and what changes at an engine, -vv what reads and how commands end") {
  const std::vector<Json> events{{{"type", "ssh.connected"}, {"host", "web1"}, {"address", "10.0.0.5"}, {"ms", 84}},
                                 {{"type", "engine.call"},
                                  {"host", "web1"},
                                  {"method", "GET"},
                                  {"path", "/v1.41/containers/json"},
                                  {"status", 200},
                                  {"ms", 3},
                                  {"sent", 0},
                                  {"received", 512}},
                                 {{"type", "engine.call"},
                                  {"host", "web1"},
                                  {"method", "POST"},
                                  {"path", "/v1.41/containers/web/start"},
                                  {"ms", 9},
                                  {"failure", "http.lost"}},
                                 {{"type", "command.ended"}, {"host", "web1"}, {"code", 3}, {"ms", 12}, {"bytes", 345}},
                                 {{"type", "ssh.closed"},
                                  {"host", "web1"},
                                  {"address", "10.0.0.5"},
                                  {"round_trips", 1},
                                  {"bytes_in", 9},
                                  {"bytes_out", 8}}};
  CHECK(page(events).empty());
  CHECK(page(events, {.verbosity = 1}) ==
        "  web1   SSH to 10.0.0.5: connected, 84 ms\n"
        "  web1   POST /v1.41/containers/web/start  http.lost, 9 ms\n"
        "  web1   SSH to 10.0.0.5: closed after 1 round trip, 8 bytes out, 9 in\n");
  const std::string all = page(events, {.verbosity = 2});
  CHECK(all.find("  web1   GET /v1.41/containers/json  200, 3 ms, 0 bytes out, 512 in\n") != std::string::npos);
  CHECK(all.find("  web1   exit code 3, 12 ms, 345 bytes of output\n") != std::string::npos);
}

TEST_CASE("a retry and a step done before") {
  Json retry = ended("pull", "web1", "failed", 2000);
  retry["retry"] = true;
  retry["error"] = {{"kind", "docker.pull"}, {"message", "429 Too Many Requests\nand more"}};
  CHECK(page({started("pull", 1),
              retry,
              {{"type", "step.finished"}, {"step", "pull"}, {"state", "failed"}},
              {{"type", "step.finished"}, {"step", "start"}, {"state", "recorded"}}}) ==
        "pull\n"
        "  web1   failed           2.0 s  429 Too Many Requests; trying again\n"
        "\n"
        "start\n"
        "  was done before\n");
}

TEST_CASE("GitHub Actions get folds and one annotation per error") {
  const std::string text = page(bad_deploy(), {.ci = Ci::github});
  CHECK(text.starts_with("::group::start the new container\n  web2   failed"));
  CHECK(text.find("::endgroup::\n\n::group::undo: start the new container\n") != std::string::npos);
  CHECK(text.find("::endgroup::\n\nerror: shop-web") != std::string::npos);
  CHECK(text.find("::error title=web2%3A start the new container::shop-web-3f2c1a9 ended with exit code 1\n") !=
        std::string::npos);
}

TEST_CASE("GitHub gets an annotation for each of the errors that came together") {
  const Json one = {{"kind", "config.invalid"}, {"message", "unknown key `a`"}, {"where", "prod.yml:3:1"}};
  Json first = {{"kind", "config.invalid"}, {"message", "unknown key `b`"}, {"where", "prod.yml:1:1"}};
  Json second = {{"kind", "config.invalid"}, {"message", "no hosts"}, {"host", "web1"}};
  second["also"] = Json::array({one});
  first["also"] = Json::array({second});
  const std::string text = page({{{"type", "error"}, {"error", first}}}, {.ci = Ci::github});
  CHECK(text.find("::error file=prod.yml,line=1,col=1,title=deployrun::unknown key `b`\n") != std::string::npos);
  CHECK(text.find("::error title=web1::no hosts\n") != std::string::npos);
  CHECK(text.find("::error file=prod.yml,line=3,col=1,title=deployrun::unknown key `a`\n") != std::string::npos);
}

TEST_CASE("colour marks states and nothing else") {
  const std::string text =
      page({ended("pull", "web1", "failed", 100), ended("pull", "web2", "done", 100)}, {.color = true});
  CHECK(text == "  web1   \x1b[31mfailed     \x1b[0m      0.1 s\n  web2   done             0.1 s\n");
}

TEST_CASE("silence is broken with the names of what still runs") {
  core::Loop loop;
  Capture capture(loop);
  Lines lines(capture.output, {});
  lines.event(begins("pull", "web1"));
  lines.event(begins("pull", "web2"));
  lines.event({{"type", "pull.progress"}, {"host", "web2"}, {"bytes", 20000000}, {"total", 61000000}});
  const auto now = core::Loop::now();
  lines.tick(now + std::chrono::seconds(20));
  CHECK(capture.text().empty());
  lines.tick(now + std::chrono::seconds(31));
  lines.tick(now + std::chrono::seconds(32));
  CHECK(capture.text() == "  still running after 31.0 s: web1, web2 (20 MB of 61 MB)\n");
}

TEST_CASE("data can go elsewhere, with a prefix where a host said it") {
  const std::vector<Json> events{{{"type", "print"}, {"host", "web1"}, {"text", "one\ntwo\n"}}};
  CHECK(page(events) == "web1   one\nweb1   two\n");
  CHECK(page(events, {.data = false}).empty());
}
