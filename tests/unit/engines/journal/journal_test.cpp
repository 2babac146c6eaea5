// What is written is what a fresh process finds; order, redaction and refusals.
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <future>
#include <vector>

#include "sqlite/database.hpp"
#include "support.hpp"

using namespace deployrun;
using namespace deployrun::journal;
using test::open;
using test::Project;
using test::task;
using test::wait;

namespace {

std::shared_ptr<Journal> opened(core::Loop& loop, const Project& project, Options options = {}) {
  auto journal = open(loop, project, std::move(options));
  if (!journal) FAIL(core::describe(journal.error()));
  return *journal;
}

std::string begun(core::Loop& loop, Journal& journal) {
  auto run = wait(loop, journal.begin(test::info()));
  if (!run) FAIL(core::describe(run.error()));
  return *run;
}

}  // namespace

TEST_CASE("a fresh process finds everything needed to go on") {
  Project project;
  std::string run;
  {
    core::Loop loop;
    auto journal = opened(loop, project);
    run = begun(loop, *journal);
    REQUIRE(wait(loop, journal->append(Once{run, "now", Json(1234)})).ok());
    REQUIRE(wait(loop, journal->append(Step{run, 1, "pull the image"})).ok());
    REQUIRE(wait(loop, journal->append(task(run, "web1", TaskState::started))).ok());
    REQUIRE(wait(loop, journal->append(task(run, "web2", TaskState::started))).ok());
    Task done{.run = run,
              .step = 1,
              .host = "web1",
              .state = TaskState::done,
              .result = Json{{"id", "sha256:9f"}},
              .error = {},
              .ms = 42};
    REQUIRE(wait(loop, journal->append(done)).ok());
    Task failed{.run = run,
                .step = 1,
                .host = "web2",
                .state = TaskState::failed,
                .result = {},
                .error = Json{{"kind", "docker.pull"}},
                .attempt = 2,
                .ms = 7};
    REQUIRE(wait(loop, journal->append(failed)).ok());
  }
  core::Loop loop;
  auto journal = opened(loop, project);
  auto found = wait(loop, journal->unfinished());
  REQUIRE(found.ok());
  REQUIRE(found->has_value());
  const Record& record = **found;
  CHECK(record.id == run);
  CHECK(record.state == RunState::running);
  CHECK_FALSE(record.owner.alive);
  CHECK(record.info.command == "deploy");
  CHECK(record.info.parameters == Json{{"version", "3f2c1a9"}});
  CHECK(record.once.at("now") == 1234);
  REQUIRE(record.steps.size() == 1);
  CHECK(record.steps[0].name == "pull the image");
  REQUIRE(record.steps[0].tasks.size() == 2);
  const TaskRecord& web1 = record.steps[0].tasks[0];
  CHECK(web1.state == TaskState::done);
  CHECK(web1.result == Json{{"id", "sha256:9f"}});
  CHECK(web1.ms == 42);
  const TaskRecord& web2 = record.steps[0].tasks[1];
  CHECK(web2.state == TaskState::failed);
  CHECK(web2.error == Json{{"kind", "docker.pull"}});
  CHECK(web2.attempt == 2);
  CHECK(web2.order > web1.order);
  CHECK(to_json(record)["steps"][0]["tasks"][0]["result"]["id"] == "sha256:9f");
}

TEST_CASE("the result outlives the undo, and an intent to run again forgets it") {
  Project project;
  core::Loop loop;
  auto journal = opened(loop, project);
  const std::string run = begun(loop, *journal);
  const auto write = [&](TaskState state, std::optional<Json> result = {}) {
    REQUIRE(wait(loop, journal->append(Task{.run = run,
                                            .step = 1,
                                            .host = "web1",
                                            .state = state,
                                            .result = std::move(result),
                                            .error = {},
                                            .ms = {}}))
                .ok());
    return wait(loop, journal->record(run))->steps[0].tasks[0];
  };
  write(TaskState::started);
  write(TaskState::done, Json("container 7"));
  CHECK(write(TaskState::undo_started).result == Json("container 7"));
  CHECK(write(TaskState::undone).result == Json("container 7"));
  CHECK_FALSE(write(TaskState::started).result.has_value());
}

TEST_CASE("begin refuses while a run is unfinished; taking it over goes on") {
  Project project;
  core::Loop loop;
  std::string run;
  {
    auto journal = opened(loop, project);
    run = begun(loop, *journal);
  }
  auto journal = opened(loop, project);
  auto refused = wait(loop, journal->begin(test::info()));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().kind == "journal.unfinished");
  CHECK(std::get<std::string>(refused.error().details.at("run")) == run);

  CHECK(wait(loop, journal->append(Step{run, 1, "pull"})).error().kind == "journal.not_owner");
  auto taken =
      wait(loop, journal->take_over(
                     {.run = run, .mode = "abort", .version = "0.1.0", .user = "bob", .host = "ci", .actor = "bob"}));
  REQUIRE(taken.ok());
  REQUIRE(taken->takeovers.size() == 1);
  CHECK(taken->takeovers[0].mode == "abort");
  CHECK(taken->owner.alive);
  REQUIRE(wait(loop, journal->append(Step{run, 1, "pull"})).ok());

  // Needing a person is no end: nothing else begins until somebody resumes or aborts.
  REQUIRE(
      wait(loop, journal->finish({.run = run, .state = RunState::needs_person, .summary = {{"left", {"web1"}}}})).ok());
  CHECK(wait(loop, journal->begin(test::info())).error().kind == "journal.unfinished");
  REQUIRE(
      wait(loop, journal->take_over({.run = run, .mode = "abort", .version = {}, .user = {}, .host = {}, .actor = {}}))
          .ok());
  REQUIRE(wait(loop, journal->finish({.run = run, .state = RunState::aborted})).ok());
  CHECK_FALSE(wait(loop, journal->unfinished())->has_value());
  CHECK(
      wait(loop, journal->take_over({.run = run, .mode = "abort", .version = {}, .user = {}, .host = {}, .actor = {}}))
          .error()
          .kind == "journal.finished");
  CHECK(wait(loop,
             journal->take_over({.run = "none", .mode = "abort", .version = {}, .user = {}, .host = {}, .actor = {}}))
            .error()
            .kind == "journal.unknown_run");
  CHECK(begun(loop, *journal) != run);
}

TEST_CASE("history is newest first, with its steps") {
  Project project;
  core::Loop loop;
  auto journal = opened(loop, project);
  std::vector<std::string> runs;
  for (int i = 0; i < 3; ++i) {
    runs.push_back(begun(loop, *journal));
    REQUIRE(wait(loop, journal->append(Step{runs.back(), 1, "step of run " + std::to_string(i)})).ok());
    REQUIRE(wait(loop, journal->finish({.run = runs.back(), .state = RunState::done})).ok());
  }
  auto history = wait(loop, journal->history(2));
  REQUIRE(history.ok());
  REQUIRE(history->size() == 2);
  CHECK((*history)[0].id == runs[2]);
  CHECK((*history)[0].steps[0].name == "step of run 2");
  CHECK((*history)[0].state == RunState::done);
  CHECK((*history)[1].id == runs[1]);
}

TEST_CASE("rows take effect in the order of their start, however many wait together") {
  Project project;
  core::Loop loop;
  std::vector<int> before, after;
  auto journal = opened(loop, project, {.redact = {}, .now = {}, .on_row = [&](Point point, int row) {
                                          (point == Point::before ? before : after).push_back(row);
                                        }});
  const std::string run = begun(loop, *journal);
  std::vector<std::unique_ptr<core::Operation<core::Unit>>> operations;
  int completed = 0;
  for (int i = 0; i < 200; ++i) {
    operations.push_back(journal->append(task(run, "web" + std::to_string(i), TaskState::started)));
    operations.back()->start([&, i](const core::Result<core::Unit>& result) {
      CHECK(result.ok());
      CHECK(completed++ == i);
    });
  }
  auto finish = journal->finish({.run = run, .state = RunState::done});
  finish->start([&](const core::Result<core::Unit>& result) { CHECK(result.ok()); });
  auto late = journal->append(task(run, "late", TaskState::started));
  std::string kind;
  late->start([&](const core::Result<core::Unit>& result) { kind = result.error().kind; });
  loop.run();
  CHECK(completed == 200);
  CHECK(kind == "journal.not_owner");
  REQUIRE(before.size() == 202);  // the run, two hundred tasks, the end
  CHECK(after == before);
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(before[i] == static_cast<int>(i) + 1);
  auto record = wait(loop, journal->record(run));
  REQUIRE(record.ok());
  REQUIRE(record->steps[0].tasks.size() == 200);
  for (std::size_t i = 0; i < 200; ++i) CHECK(record->steps[0].tasks[i].host == "web" + std::to_string(i));
  CHECK(*wait(loop, journal->verify()) == 202);
}

TEST_CASE("posted rows are committed with the next appended one, in front of it") {
  Project project;
  core::Loop loop;
  std::vector<int> commits;
  int rows = 0;
  auto journal = opened(loop, project, {.redact = {}, .now = {}, .on_row = [&](Point point, int row) {
                                          if (point == Point::after && row > rows) rows = row;
                                          if (point == Point::before && row == rows + 1) commits.push_back(row);
                                        }});
  const std::string run = begun(loop, *journal);
  CHECK(journal->post(Step{run, 1, "pull"}).ok());
  CHECK(wait(loop, journal->record(run))->steps.empty());
  REQUIRE(wait(loop, journal->append(task(run, "web1", TaskState::started))).ok());
  CHECK(journal->post(task(run, "web1", TaskState::done)).ok());
  CHECK(journal->post(Once{run, "much", Json(std::string(2U << 20U, 'x'))}).error().kind == "journal.too_large");
  auto record = wait(loop, journal->record(run));
  REQUIRE(record->steps.size() == 1);
  CHECK(record->steps[0].tasks.at(0).state == TaskState::started);
  REQUIRE(wait(loop, journal->finish({.run = run, .state = RunState::done})).ok());
  CHECK(wait(loop, journal->record(run))->steps[0].tasks.at(0).state == TaskState::done);
  CHECK(commits == std::vector<int>{1, 2, 4});
  CHECK(*wait(loop, journal->verify()) == 5);
}

TEST_CASE("a row that was cancelled while it waited is not written") {
  Project project;
  core::Loop loop;
  std::promise<void> taken, cancelled;
  auto journal = opened(loop, project, {.redact = {}, .now = {}, .on_row = [&](Point point, int row) {
                                          if (row != 2 || point != Point::before) return;
                                          taken.set_value();  // the commit with the first step knows its rows by now
                                          cancelled.get_future().wait();
                                        }});
  const std::string run = begun(loop, *journal);
  auto first = journal->append(Step{run, 1, "first"});
  auto second = journal->append(Step{run, 2, "cancelled"});
  auto last = journal->append(Step{run, 3, "last"});
  std::string kind;
  first->start([](const core::Result<core::Unit>& result) { CHECK(result.ok()); });
  taken.get_future().wait();
  second->start([&](const core::Result<core::Unit>& result) { kind = result.error().kind; });
  last->start([](const core::Result<core::Unit>& result) { CHECK(result.ok()); });
  second->cancel();
  cancelled.set_value();
  loop.run();
  CHECK(kind == "cancelled");
  auto record = wait(loop, journal->record(run));
  REQUIRE(record->steps.size() == 2);
  CHECK(record->steps[0].name == "first");
  CHECK(record->steps[1].name == "last");
}

TEST_CASE("every text of every row is redacted") {
  Project project;
  core::Loop loop;
  const auto mask = [](std::string text) {
    for (std::size_t at; (at = text.find("hunter2")) != std::string::npos;) text.replace(at, 7, "[secret:DB]");
    return text;
  };
  {
    auto journal = opened(loop, project, {.redact = mask});
    auto secret = test::info();
    secret.parameters = {{"url", "postgres://hunter2@db"}, {"list", {{"hunter2", "hunter2"}}}};
    const std::string run = *wait(loop, journal->begin(secret));
    REQUIRE(wait(loop, journal->append(Once{run, "hunter2", Json("hunter2")})).ok());
    REQUIRE(wait(loop, journal->append(Step{run, 1, "say hunter2"})).ok());
    REQUIRE(wait(loop, journal->append(Task{.run = run,
                                            .step = 1,
                                            .host = "web1",
                                            .state = TaskState::failed,
                                            .result = {},
                                            .error = Json{{"stderr", "auth hunter2 refused"}},
                                            .ms = {}}))
                .ok());
    REQUIRE(wait(loop, journal->finish({.run = run, .state = RunState::failed_undone, .summary = {{"why", "hunter2"}}}))
                .ok());
  }
  auto database = sqlite::Database::open(project.database());
  REQUIRE(database.ok());
  CHECK(std::get<std::int64_t>(*database->scalar("SELECT count(*) FROM journal WHERE body LIKE '%hunter2%'")) == 0);
  CHECK(std::get<std::int64_t>(*database->scalar("SELECT count(*) FROM journal WHERE body LIKE '%[secret:DB]%'")) == 5);
}

TEST_CASE("a result that is no small thing is refused with words") {
  Project project;
  core::Loop loop;
  auto journal = opened(loop, project);
  const std::string run = begun(loop, *journal);
  CHECK(wait(loop, journal->append(Once{run, "much", Json(std::string(2U << 20U, 'x'))})).error().kind ==
        "journal.too_large");
  Json deep = 1;
  for (int i = 0; i < 100; ++i) deep = Json::array({std::move(deep)});
  CHECK(wait(loop, journal->append(Once{run, "deep", deep})).error().kind == "journal.too_large");
  // Bytes that are no UTF-8 are made so instead of failing the task.
  REQUIRE(wait(loop, journal->append(Once{run, "bytes", Json("\xff!")})).ok());
  CHECK(wait(loop, journal->record(run))->once.at("bytes") == "\xef\xbf\xbd!");
}

TEST_CASE("the views tell a person with a shell the same") {
  Project project;
  core::Loop loop;
  auto journal = opened(loop, project);
  const std::string run = begun(loop, *journal);
  REQUIRE(wait(loop, journal->append(Step{run, 1, "pull"})).ok());
  REQUIRE(wait(loop, journal->append(task(run, "web1", TaskState::started))).ok());
  REQUIRE(wait(loop, journal->append(task(run, "web1", TaskState::done))).ok());
  REQUIRE(wait(loop, journal->finish({.run = run, .state = RunState::needs_person})).ok());
  auto database = sqlite::Database::open(project.database(), {.read_only = true});
  REQUIRE(database.ok());
  CHECK(std::get<std::string>(*database->scalar("SELECT state FROM run")) == "needs_person");
  CHECK(std::get<std::string>(*database->scalar("SELECT name FROM step")) == "pull");
  CHECK(std::get<std::string>(*database->scalar("SELECT host || ' ' || state FROM task")) == "web1 done");
}
