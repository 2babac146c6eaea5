// What recipes and the stdlib report, as events.
#include "report/reporter.hpp"

#include "vm.hpp"

using namespace deployrun;
using bindings::test::Vm;

namespace {

std::vector<report::Json> of_type(const Vm& vm, const std::string& type) {
  std::vector<report::Json> found;
  for (const auto& event : vm.events) {
    if (event["type"] == type) found.push_back(event);
  }
  return found;
}

}  // namespace

TEST_CASE("a command's output is told line by line, cleaned and masked") {
  Vm vm;
  vm.run(R"(
    local process, secret = require "native.process", require "native.secret"
    local key = secret.value("KEY", "hunter2-hunter2")
    local script = 'printf "one\\n\\033[31mtwo %s\\nlast" "$KEY"; echo oops >&2'
    local result = process.run({ "sh", "-c", script }, { env = { KEY = key }, tell = "web1" })
    assert(result.stdout == "one\n\27[31mtwo hunter2-hunter2\nlast")
  )");
  std::vector<std::string> out;
  std::vector<std::string> err;
  for (const auto& event : of_type(vm, "task.output")) {
    CHECK(event["host"] == "web1");
    (event["stream"] == "stdout" ? out : err).push_back(event["line"]);
  }
  CHECK(out == std::vector<std::string>{"one", "two [secret:KEY]", "last"});
  CHECK(err == std::vector<std::string>{"oops"});
}

TEST_CASE("of a command that says too much the first 10,000 lines are told") {
  Vm vm;
  vm.run("require('native.process').run({ 'seq', '20000' }, { tell = 'web1' })");
  const auto told = of_type(vm, "task.output");
  REQUIRE(told.size() == 10'001);
  CHECK(told[9999]["line"] == "10000");
  CHECK(told[10'000]["line"] == "(further lines are not shown)");
}

TEST_CASE("what is waited for, and how far a task is") {
  Vm vm;
  vm.run(R"(
    local report = require "native.report"
    report.waiting({ name = "web1" }, "http://x/up to answer", 1999.6)
    local tell = report.progress({ name = "web1" }, "pull.progress")
    for done = 1, 100 do tell { bytes = done * 1000, total_bytes = 200000, layers = 5, done = 2 } end
  )");
  const auto waiting = of_type(vm, "task.waiting");
  REQUIRE(waiting.size() == 1);
  CHECK(waiting[0]["what"] == "http://x/up to answer");
  CHECK(waiting[0]["left_ms"] == 2000);
  const auto progress = of_type(vm, "pull.progress");
  REQUIRE_FALSE(progress.empty());
  CHECK(progress.size() < 10);  // one in 250 ms
  CHECK(progress[0]["bytes"] == 1000);
  CHECK(progress[0]["total"] == 200000);
  CHECK(progress[0]["note"] == "2 of 5 layers");
}

TEST_CASE("the recipe's line is known") {
  Vm vm;
  vm.run("local fail = require 'native.fail'\nlocal where = fail.where()\nassert(where == 'recipe.lua:2', where)");
}
