// What people read of a plan: golden pages.
#include "report/plan_text.hpp"

#include <catch2/catch_test_macros.hpp>

#include "capture.hpp"
#include "report/lines.hpp"

using namespace deployrun;
using namespace deployrun::report;

namespace {

Json command(const char* line, const char* note = "") {
  Json change{{"kind", "command"}, {"command", line}};
  if (*note != '\0') change["note"] = note;
  return change;
}

Json place(const char* host, Json changes, Json waits = Json::array()) {
  return {{"host", host}, {"changes", std::move(changes)}, {"waits", std::move(waits)}};
}

Json step(const char* name, Json hosts, bool reads = false) {
  return {{"type", "plan.step"}, {"step", name}, {"reads", reads}, {"hosts", std::move(hosts)}};
}

}  // namespace

TEST_CASE("hosts with the same changes stand together") {
  const Json stop = Json::array({command("docker stop shop-web-v1")});
  const auto text = plan_step_text(
      step("retire the old version", {place("web1", stop), place("web2", stop), place("web3", Json::array())}), false);
  CHECK(text ==
        "retire the old version\n"
        "  web1, web2\n"
        "    docker stop shop-web-v1\n"
        "  web3  nothing to change\n");
}

TEST_CASE("files are told by their diff, or by what is known of them") {
  const Json changes = {
      {{"kind", "file"},
       {"path", "/etc/motd"},
       {"state", "changed"},
       {"mode", "0644"},
       {"bytes", 6},
       {"diff", "@@ -1,1 +1,1 @@\n-old\n+hello"}},
      {{"kind", "file"}, {"path", "/etc/token"}, {"state", "new"}, {"mode", "0600"}, {"content", "[secret:TOKEN]"}},
      {{"kind", "file"}, {"path", "/srv/blob"}, {"state", "new"}, {"mode", "0644"}, {"bytes", 70000}}};
  CHECK(plan_step_text(step("write", Json::array({place("web1", changes)})), false) ==
        "write\n"
        "  web1\n"
        "    ~ /etc/motd mode 0644\n"
        "      @@ -1,1 +1,1 @@\n"
        "      -old\n"
        "      +hello\n"
        "    + /etc/token mode 0600 [secret:TOKEN]\n"
        "    + /srv/blob mode 0644 70000 bytes\n");
}

TEST_CASE("what would be waited for, notes and lines of a command are told") {
  const Json changes = Json::array({command("sh -c 'cd x\nls'", "stdin: 3 bytes")});
  CHECK(plan_step_text(step("prepare", Json::array({place("web1", changes, Json::array({"until shop answers"}))})),
                       false) ==
        "prepare\n"
        "  web1\n"
        "    sh -c 'cd x\n"
        "    ls'  # stdin: 3 bytes\n"
        "    wait until shop answers\n");
}

TEST_CASE("a step without a change is one line") {
  CHECK(plan_step_text(step("look", {place("web1", Json::array())}, true), false) == "look  reads\n");
  CHECK(plan_step_text(step("pull", {place("web1", Json::array())}), false) == "pull  nothing to change\n");
  CHECK(plan_step_text({{"type", "plan.step"}, {"hosts", Json::array()}}, false) ==
        "outside of steps  nothing to change\n");
}

TEST_CASE("a plan ends with how much is pending") {
  CHECK(plan_finished_text({{"changes", 0}, {"state", "done"}}, false) == "no changes\n");
  CHECK(plan_finished_text({{"changes", 1}, {"state", "done"}}, false) == "1 change pending; nothing was changed\n");
  CHECK(plan_finished_text({{"changes", 4}, {"state", "failed"}}, false) ==
        "the plan ends here; nothing was changed\n");
}

TEST_CASE("a plan is data: --quiet shows it too") {
  core::Loop loop;
  test::Capture capture(loop);
  Lines lines(capture.output, {.verbosity = -1});
  lines.event(step("retire", Json::array({place("web1", Json::array({command("docker stop a")}))})));
  lines.event({{"type", "plan.finished"}, {"changes", 1}, {"state", "done"}});
  CHECK(capture.text() == "retire\n  web1\n    docker stop a\n\n1 change pending; nothing was changed\n");
}
