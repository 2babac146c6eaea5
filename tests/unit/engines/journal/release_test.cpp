// What was released: kept with its run, found again by service and host.
#include <catch2/catch_test_macros.hpp>

#include "sqlite/database.hpp"
#include "support.hpp"

using namespace deployrun;
using namespace deployrun::journal;
using test::open;
using test::Project;
using test::wait;

namespace {

Release release(const std::string& run, const std::string& host, const std::string& version) {
  return {.run = run,
          .host = host,
          .service = "shop",
          .version = version,
          .facts = {{"images", {{"web", "shop@sha256:" + version}}}}};
}

struct Machine {
  Project project;
  core::Loop loop;
  std::shared_ptr<Journal> journal = open(loop, project).value();

  std::string run_with(const std::vector<std::pair<std::string, std::string>>& released) {
    const std::string run = wait(loop, journal->begin(test::info())).value();
    for (const auto& [host, version] : released) REQUIRE(journal->post(release(run, host, version)).ok());
    REQUIRE(wait(loop, journal->finish({.run = run, .state = RunState::done})).ok());
    return run;
  }
  std::vector<std::string> versions(const std::string& host, std::int64_t limit = 9) {
    std::vector<std::string> found;
    const auto releases = wait(loop, journal->releases("shop", host, limit)).value();
    for (const Released& each : releases) {
      found.push_back(each.body["version"].get<std::string>());
    }
    return found;
  }
  std::int64_t format() {
    return std::get<std::int64_t>(sqlite::Database::open(project.database())->scalar("PRAGMA user_version").value());
  }
};

using Versions = std::vector<std::string>;

}  // namespace

TEST_CASE("the versions that a host had are known, the newest first, each once") {
  Machine machine;
  CHECK(machine.versions("web1").empty());
  machine.run_with({});
  CHECK(machine.format() == 1);
  const std::string first = machine.run_with({{"web1", "v1"}, {"web2", "v1"}});
  CHECK(machine.format() == 3);
  machine.run_with({{"web1", "v2"}});
  machine.run_with({{"web1", "v3"}});
  machine.run_with({{"web1", "v1"}});
  CHECK(machine.versions("web1") == Versions{"v1", "v3", "v2"});
  CHECK(machine.versions("web1", 2) == Versions{"v1", "v3"});
  CHECK(machine.versions("web2") == Versions{"v1"});
  const auto found = wait(machine.loop, machine.journal->releases("shop", "web2", 1)).value();
  REQUIRE(found.size() == 1);
  CHECK(to_json(found[0])["images"]["web"] == "shop@sha256:v1");
  CHECK(to_json(found[0])["time"].get<std::int64_t>() > 0);
  CHECK(wait(machine.loop, machine.journal->releases("blog", "web1", 9)).value().empty());
  const Record record = wait(machine.loop, machine.journal->record(first)).value();
  REQUIRE(record.releases.size() == 2);
  CHECK(to_json(record)["releases"][1]["host"] == "web2");
}

TEST_CASE("releases travel with their run") {
  Machine first, second;
  const std::string run = first.run_with({{"web1", "v1"}});
  Json rows = Json::array();
  const auto copied = wait(first.loop, first.journal->copy(run, 0)).value();
  for (const auto& each : copied) rows.push_back(to_json(each));
  REQUIRE(wait(second.loop, second.journal->restore(run, copied_rows(run, rows).value())).ok());
  CHECK(second.versions("web1") == Versions{"v1"});
  CHECK(wait(second.loop, second.journal->verify()).ok());
}
