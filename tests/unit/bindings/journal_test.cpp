// The faces of the journal and the report: what Lua writes is what another VM reads; secrets stay out of both.
#include <stdlib.h>

#include <filesystem>

#include "vm.hpp"

using namespace deployrun;
using bindings::test::Vm;

namespace {

class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / ("deployrun-test-" + std::string(6, 'X'))).string()) {
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

constexpr const char* kOpen = R"(
  local journal = require("native.journal").open { user = "ada", host = "laptop", version = "0.1.0" }
  local info = { recipe = "prod.lua", command = "deploy", parameters = { version = "v1" }, recipe_hash = "b1" }
)";

}  // namespace

TEST_CASE("a run is written by one VM and taken over by the next") {
  const Folder folder;
  {
    Vm vm(folder.path());
    vm.run(std::string(kOpen) + R"(
      assert(journal:unfinished() == nil)
      local run = journal:begin(info)
      assert(run:match("^%d+%-%d+%-%w+$"), run)
      journal:append { run = run, type = "once", name = "stamp", value = { 1, 2, 3 } }
      journal:append { run = run, type = "step", ordinal = 1, name = "start" }
      journal:append { run = run, type = "task", step = 1, host = "web1", state = "started", attempt = 1 }
      journal:append { run = run, type = "task", step = 1, host = "web1", state = "done", attempt = 1, ms = 12,
        result = { id = "c7", ports = { 80 } } }
      local ok, err = pcall(error, { kind = "app.exited", message = "ended", code = 3 })
      journal:append { run = run, type = "task", step = 1, host = "web2", state = "failed", attempt = 1, error = err }
      assert(journal:unfinished().owner.alive)
    )");
  }
  Vm vm(folder.path());
  vm.run(std::string(kOpen) + R"(
    local left = journal:unfinished()
    assert(left.command == "deploy" and left.user == "ada" and left.parameters.version == "v1")
    assert(not left.owner.alive and #left.once.stamp == 3)
    local ok, err = pcall(journal.begin, journal, info)
    assert(not ok and err.kind == "journal.unfinished" and err.run == left.id and err.command == "deploy", tostring(err))

    local record = journal:take_over { run = left.id, mode = "abort" }
    local web1, web2 = record.steps[1].tasks[1], record.steps[1].tasks[2]
    assert(record.steps[1].name == "start" and web1.result.id == "c7" and web1.result.ports[1] == 80 and web1.ms == 12)
    assert(web2.state == "failed" and web2.error.code == 3 and web2.result == nil)
    assert(record.takeovers[1].mode == "abort" and record.takeovers[1].user == "ada")
    journal:append { run = left.id, type = "task", step = 1, host = "web1", state = "undone" }
    journal:finish { run = left.id, state = "aborted", summary = { why = "test" } }

    local past = journal:history()
    assert(#past == 1 and past[1].state == "aborted" and past[1].summary.why == "test" and past[1].ended >= past[1].started)
    assert(journal:record(left.id).steps[1].tasks[1].state == "undone")
    assert(journal:verify() == 9)
    journal:close()
    ok, err = pcall(journal.history, journal)
    assert(not ok and err.kind == "usage", tostring(err))
  )");
}

TEST_CASE("wrong rows are the caller's mistake, by name") {
  const Folder folder;
  Vm vm(folder.path());
  const auto fails = [&](const std::string& row) {
    return vm.fails(std::string(kOpen) + "journal:append(" + row + ")");
  };
  CHECK(fails("{ run = 'r', type = 'stpe' }").kind == "usage");
  CHECK(fails("{ run = 'r', type = 'task', host = 'h', state = 'finished' }").message.find("finished") !=
        std::string::npos);
  CHECK(fails("{ run = 'r', type = 'step', ordinal = 1, name = 's', hots = 'h' }").kind == "usage");
  CHECK(fails("{ run = 'r', type = 'once', name = 'n', value = print }").kind == "usage");
  CHECK(fails("{ run = 'r', type = 'step', ordinal = 1, name = 's' }").kind == "journal.not_owner");
  CHECK(vm.fails("require('native.journal').open { create = false }\nerror('there')").kind == "recipe");
  const Folder empty;
  CHECK(Vm(empty.path()).fails("require('native.journal').open { create = false }").kind == "journal.missing");
}

TEST_CASE("secrets reach neither the journal nor the events") {
  const Folder folder;
  Vm vm(folder.path());
  REQUIRE(vm.redactor.add(core::Secret("DB", "correct horse battery")));
  vm.run(std::string(kOpen) + R"(
    local run = journal:begin(info)
    journal:append { run = run, type = "once", name = "url", value = "postgres://correct horse battery@db" }
    assert(journal:record(run).once.url == "postgres://[secret:DB]@db")
    local report = require "native.report"
    report.emit { type = "task.finished", host = "web1", state = "failed", error = { message = "correct horse battery" } }
    report.text("\27[31mcorrect horse battery\n", "web1")
  )");
  REQUIRE(vm.events.size() == 2);
  CHECK(vm.events[0]["error"]["message"] == "[secret:DB]");
  CHECK(vm.events[1]["text"] == "[secret:DB]\n");
  CHECK(vm.events[1]["type"] == "print");
  CHECK(vm.events[1]["v"] == 1);
}
