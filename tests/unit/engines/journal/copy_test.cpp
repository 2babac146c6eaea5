// A copy of a run elsewhere: what goes there, what comes back from there, and who may not mix them.
#include <catch2/catch_test_macros.hpp>

#include "support.hpp"

using namespace deployrun;
using namespace deployrun::journal;
using test::open;
using test::Project;
using test::task;
using test::wait;

namespace {

/// A machine with a journal.
struct Machine {
  Project project;
  core::Loop loop;
  std::shared_ptr<Journal> journal;

  Machine() {
    auto opened = open(loop, project);
    if (!opened) FAIL(core::describe(opened.error()));
    journal = *opened;
  }
  std::string begin() { return wait(loop, journal->begin(test::info())).value(); }
  void append(Row row) { REQUIRE(wait(loop, journal->append(std::move(row))).ok()); }
  std::vector<CopiedRow> copy(const std::string& run, std::int64_t after = 0) {
    return wait(loop, journal->copy(run, after)).value();
  }
  void end(const std::string& run, RunState state = RunState::done) {
    REQUIRE(wait(loop, journal->finish({.run = run, .state = state})).ok());
  }
  core::Result<core::Unit> restore(const std::string& run, const std::vector<CopiedRow>& rows) {
    return wait(loop, journal->restore(run, rows));
  }
};

/// As they travel.
std::vector<CopiedRow> travelled(const std::string& run, const std::vector<CopiedRow>& rows) {
  Json list = Json::array();
  for (const auto& each : rows) list.push_back(to_json(each));
  return copied_rows(run, list).value();
}

}  // namespace

TEST_CASE("a run's rows are numbered from 1, and what was copied before is left out") {
  Machine machine;
  machine.end(machine.begin());
  const std::string run = machine.begin();
  CHECK(machine.copy(run).size() == 1);
  machine.append(Step{run, 1, "pull"});
  machine.append(task(run, "web1", TaskState::started));
  const auto later = machine.copy(run, 1);
  REQUIRE(later.size() == 2);
  CHECK(later[0].row.number == 2);
  CHECK(later[0].row.type == "step");
  const auto all = machine.copy(run);
  REQUIRE(all.size() == 3);
  CHECK(all[0].row.type == "run");
  CHECK(all[2].hash == later[1].hash);
  CHECK(machine.copy(run, 3).empty());
  CHECK(machine.copy("20200101-000000-000000").empty());
}

TEST_CASE("another machine goes on from the copy, and what it adds follows the rows that were there") {
  Machine first, second;
  const std::string run = first.begin();
  first.append(Once{run, "now", Json(5)});
  first.append(Step{run, 1, "pull"});
  first.append(task(run, "web1", TaskState::started));
  const auto rows = travelled(run, first.copy(run));
  CHECK(record_of(rows).value().steps[0].name == "pull");

  second.end(second.begin());
  REQUIRE(second.restore(run, rows).ok());
  const auto found = wait(second.loop, second.journal->unfinished()).value();
  REQUIRE(found);
  CHECK(found->id == run);
  CHECK(found->info.user == "ada");
  CHECK(found->once.at("now") == 5);
  CHECK(found->started == rows[0].row.time);
  REQUIRE(wait(second.loop, second.journal->take_over({.run = run, .mode = "resume"})).ok());
  second.append(task(run, "web1", TaskState::done));
  const auto more = second.copy(run, 4);
  REQUIRE(more.size() == 2);
  CHECK(more[0].row.number == 5);
  CHECK(more[0].row.type == "takeover");
  auto whole = rows;
  whole.insert(whole.end(), more.begin(), more.end());
  CHECK(record_of(travelled(run, whole)).value().steps[0].tasks[0].state == TaskState::done);
  second.end(run);
  CHECK(wait(second.loop, second.journal->verify()).ok());
  CHECK(wait(second.loop, second.journal->history(10)).value().size() == 2);
}

TEST_CASE("what is brought back stands in the place of what was known here") {
  Machine first, second;
  const std::string run = first.begin();
  first.append(Step{run, 1, "pull"});
  REQUIRE(second.restore(run, first.copy(run)).ok());
  REQUIRE(wait(second.loop, second.journal->take_over({.run = run, .mode = "abort"})).ok());
  second.end(run, RunState::aborted);
  // The first one came further before it went away, and believes that the run waits.
  first.append(task(run, "web1", TaskState::started));
  CHECK(first.restore(run, second.copy(run)).error().is("journal.busy"));  // its process lives
  first.journal.reset();
  first.journal = open(first.loop, first.project).value();
  REQUIRE(first.restore(run, travelled(run, second.copy(run))).ok());
  CHECK_FALSE(wait(first.loop, first.journal->unfinished()).value());
  const Record record = wait(first.loop, first.journal->record(run)).value();
  CHECK(record.state == RunState::aborted);
  CHECK(record.steps[0].tasks.empty());
  CHECK(first.copy(run).back().hash == second.copy(run).back().hash);
  CHECK(wait(first.loop, first.journal->history(10)).value().size() == 1);
  CHECK(wait(first.loop, first.journal->verify()).ok());
}

TEST_CASE("a run that waits here is not hidden behind one from elsewhere") {
  Machine first, second;
  const std::string run = first.begin();
  const std::string own = second.begin();
  second.journal.reset();
  second.journal = open(second.loop, second.project).value();
  const auto refused = second.restore(run, first.copy(run));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is("journal.unfinished"));
  CHECK(std::get<std::string>(refused.error().details.at("run")) == own);
}

TEST_CASE("rows that were changed on their way, or are not all there, are refused") {
  Machine machine;
  const std::string run = machine.begin();
  machine.append(Step{run, 1, "pull"});
  Json rows = Json::array();
  for (const auto& each : machine.copy(run)) rows.push_back(to_json(each));
  CHECK(copied_rows(run, rows));
  Json changed = rows;
  changed[1]["body"] = R"({"name":"push","ordinal":1})";
  CHECK(copied_rows(run, changed).error().is("journal.tampered"));
  CHECK(copied_rows("another", rows).error().is("journal.tampered"));
  Json cut = rows;
  cut.erase(0);
  CHECK(copied_rows(run, cut).error().is("journal.corrupt"));
  CHECK(copied_rows(run, Json::array()).error().is("journal.corrupt"));
  CHECK(copied_rows(run, Json{{"number", 1}}).error().is("journal.corrupt"));
}

TEST_CASE("rows whose bodies are of other shapes are corrupt, not what somebody stumbles over later") {
  Machine machine;
  const std::string run = machine.begin();
  auto rows = machine.copy(run);
  REQUIRE(record_of(rows));
  const auto with = [&](const std::string& type, const Json& body) {
    auto more = rows;
    more.push_back({.row = {.number = 2, .time = 1, .run = run, .type = type, .body = body.dump()}, .hash = ""});
    const auto record = record_of(more);
    return record ? "" : record.error().kind;
  };
  Json task{{"step", 1}, {"host", "web1"}, {"state", "failed"}, {"attempt", 1}};
  CHECK(with("task", task).empty());
  for (const Json& error : {Json(5), Json("text"), Json(nullptr), Json(true)}) {
    task["error"] = error;
    CHECK(with("task", task) == "journal.corrupt");
  }
  task["error"] = {{"kind", "host.exit"}};
  CHECK(with("task", task).empty());
  CHECK(with("finish", {{"state", "done"}, {"summary", 5}}) == "journal.corrupt");
  CHECK(with("release", 5).empty());

  Json begun = Json::parse(rows[0].row.body);
  begun["parameters"] = "all";
  rows[0].row.body = begun.dump();
  CHECK(record_of(rows).error().is("journal.corrupt"));
}
