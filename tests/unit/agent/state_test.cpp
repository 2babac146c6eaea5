// The copy of runs' journals beside the deploy lock: who may write it, what is kept, what is refused.
#include <stdlib.h>
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <optional>
#include <vector>

#include "../scratch.hpp"
#include "agent_program/requests.hpp"

using namespace deployrun;
using agent::Cancellation;
using agent::Json;
using test::Scratch;

namespace {

/// A server's user, whose home is a scratch folder.
struct Home {
  Scratch scratch;
  Home() { ::setenv("HOME", scratch.folder().c_str(), 1); }
  std::string file() const { return scratch.path(".deployrun/locks/shop/state.db"); }
};

struct Agent {
  std::optional<agent::Requests> requests{std::in_place};
  Json claim;

  core::Result<Json> ask(const std::string& method, const Json& params) {
    Cancellation cancellation;
    return requests->answer(method, params, cancellation);
  }
  Json get(const std::string& method, const Json& params) {
    auto said = ask(method, params);
    INFO(method << ": " << (said ? "" : said.error().message));
    REQUIRE(said);
    return *said;
  }
  std::string kind(const std::string& method, const Json& params) {
    auto said = ask(method, params);
    return said ? "" : said.error().kind;
  }
  Json acquire(const std::string& id) {
    const Json words{{"id", id},     {"owner", "ann@laptop"}, {"message", "deploy"}, {"run", ""},
                     {"ci_url", ""}, {"version", "1"},        {"lease_ms", 30'000},  {"by_hand", false}};
    const Json taken = get("lock.acquire", {{"name", "shop"}, {"claim", words}, {"patience_ms", 0}});
    claim = taken["claim"];
    return taken;
  }
  Json of(const std::string& run, const std::vector<Json>& rows) const {
    return {{"claim", claim}, {"run", run}, {"rows", rows}};
  }
};

Json row(int number, const std::string& type, const Json& body, const std::string& hash = "") {
  return {{"number", number},
          {"time", 1000 + number},
          {"type", type},
          {"body", body.dump()},
          {"hash", hash.empty() ? "h" + std::to_string(number) : hash}};
}

const Json kBegun{{"recipe", "recipes/prod.lua"}, {"command", "deploy"}, {"user", "ada"}, {"host", "laptop"}};

}  // namespace

TEST_CASE("rows are stored by the holder of the lock, and found by everybody, also when their writer is gone") {
  Home home;
  Agent one;
  CHECK_FALSE(one.acquire("a").contains("unfinished"));
  CHECK(one.get("journal.unfinished", {{"name", "shop"}}) == false);
  CHECK(one.get("journal.read", {{"name", "shop"}, {"run", "r1"}}) == false);
  CHECK(one.get("journal.runs", {{"name", "shop"}, {"limit", 5}}) == false);
  one.get("journal.append", one.of("r1", {row(1, "run", kBegun), row(2, "step", {{"ordinal", 1}})}));
  // Again, as after an answer that was lost, with one more.
  one.get("journal.append", one.of("r1", {row(2, "step", {{"ordinal", 1}}), row(3, "task", Json::object())}));
  struct stat file {};
  REQUIRE(::stat(home.file().c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);
  one.requests.reset();

  Agent other;
  const Json found = other.acquire("b")["unfinished"];
  CHECK(found["run"] == "r1");
  CHECK(found["rows"] == 3);
  CHECK(found["hash"] == "h3");
  CHECK(found["recipe"] == "recipes/prod.lua");
  CHECK(found["user"] == "ada");
  const Json rows = other.get("journal.read", {{"name", "shop"}, {"run", "r1"}})["rows"];
  REQUIRE(rows.size() == 3);
  CHECK(rows[2] == row(3, "task", Json::object()));
}

TEST_CASE("a run that ended is no unfinished one; the newest are listed first") {
  Home home;
  Agent agent;
  agent.acquire("a");
  agent.get("journal.append", agent.of("r1", {row(1, "run", kBegun), row(2, "finish", {{"state", "done"}})}));
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}}) == false);
  agent.get("journal.append", agent.of("r2", {row(1, "run", kBegun), row(2, "finish", {{"state", "needs_person"}})}));
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}})["state"] == "needs_person");
  agent.get("journal.append", agent.of("r2", {row(3, "takeover", Json::object())}));
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}})["state"] == "running");
  const Json runs = agent.get("journal.runs", {{"name", "shop"}, {"limit", 5}});
  REQUIRE(runs.size() == 2);
  CHECK(runs[0]["run"] == "r2");
  CHECK(runs[1]["rows"].size() == 2);
}

TEST_CASE("other rows in the place of those that are there, and gaps, are refused whole") {
  Home home;
  Agent agent;
  agent.acquire("a");
  agent.get("journal.append", agent.of("r1", {row(1, "run", kBegun), row(2, "step", Json::object())}));
  CHECK(agent.kind("journal.append", agent.of("r1", {row(2, "step", Json::object(), "other"),
                                                     row(3, "task", Json::object())})) == "journal.behind");
  CHECK(agent.kind("journal.append", agent.of("r1", {row(4, "task", Json::object())})) == "journal.behind");
  CHECK(agent.kind("journal.append", agent.of("r1", {Json{{"number", "x"}}})) == "usage");
  CHECK(agent.kind("journal.append", {{"claim", agent.claim}, {"run", "r1"}, {"rows", 1}}) == "usage");
  CHECK(agent.kind("journal.read", {{"name", "../shop"}, {"run", "r1"}}) == "usage");
  CHECK(agent.get("journal.read", {{"name", "shop"}, {"run", "r1"}})["rows"].size() == 2);
}

TEST_CASE("who lost the lock writes no more; the last rows come with its release") {
  Home home;
  Agent one, other;
  one.acquire("a");
  one.get("lock.release", one.of("r1", {row(1, "run", kBegun), row(2, "finish", {{"state", "done"}})}));
  CHECK(one.kind("journal.append", one.of("r1", {row(3, "task", Json::object())})) == "usage");
  CHECK_FALSE(other.acquire("b").contains("unfinished"));

  const Json by{{"id", "c"},    {"owner", "bob"}, {"message", ""},    {"run", ""},
                {"ci_url", ""}, {"version", "1"}, {"lease_ms", 1000}, {"by_hand", false}};
  one.get("lock.break", {{"name", "shop"}, {"id", "b"}, {"by", by}});
  CHECK(other.kind("journal.append", other.of("r2", {row(1, "run", kBegun)})) == "lock.lost");
  CHECK(other.get("journal.read", {{"name", "shop"}, {"run", "r2"}}) == false);
}

TEST_CASE("what was sent is stored, although its sender is called off") {
  Home home;
  Agent agent;
  agent.acquire("a");
  Cancellation cancellation;
  cancellation.cancel(core::cancelled());
  const auto said = agent.requests->answer("journal.append", agent.of("r1", {row(1, "run", kBegun)}), cancellation);
  CHECK(said);
  CHECK(agent.get("journal.read", {{"name", "shop"}, {"run", "r1"}})["rows"].size() == 1);
}

TEST_CASE("rows of other shapes are told as far as they can be, and end nobody's agent") {
  Home home;
  Agent agent;
  agent.acquire("a");
  agent.get("journal.append", agent.of("r1", {row(1, "run", Json::array({1})), row(2, "finish", {{"state", 5}})}));
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}}) == false);
  agent.get("journal.append", agent.of("r1", {row(3, "takeover", "x")}));
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}})["recipe"] == "");
  CHECK(agent.kind("lock.release", {{"claim", agent.claim}, {"run", 5}, {"rows", 5}}) == "usage");
}

TEST_CASE("a file of a newer deployrun keeps its lock from being taken, with words") {
  Home home;
  {
    Agent agent;
    agent.acquire("a");
    agent.get("journal.append", agent.of("r1", {row(1, "run", kBegun)}));
  }
  {
    auto database = sqlite::Database::open(home.file());
    REQUIRE(database);
    REQUIRE(database->execute("PRAGMA user_version = 9"));
  }
  Agent agent;
  const Json words{{"id", "b"},    {"owner", "ann"}, {"message", ""},      {"run", ""},
                   {"ci_url", ""}, {"version", "1"}, {"lease_ms", 30'000}, {"by_hand", false}};
  CHECK(agent.kind("lock.acquire", {{"name", "shop"}, {"claim", words}, {"patience_ms", 0}}) == "journal.newer");
  CHECK_FALSE(agent.get("lock.status", {{"name", "shop"}}).contains("holder"));
}

TEST_CASE("the versions that a host had are known, the newest first, and a file is of the format that its rows need") {
  Home home;
  Agent agent;
  agent.acquire("a");
  const Json question{{"name", "shop"}, {"service", "shop"}, {"host", "web1"}, {"limit", 2}};
  CHECK(agent.get("journal.releases", question) == false);
  agent.get("journal.append", agent.of("r1", {row(1, "run", kBegun)}));
  CHECK(agent.get("journal.releases", question) == Json::array());
  const auto format = [&] {
    return std::get<std::int64_t>(sqlite::Database::open(home.file())->scalar("PRAGMA user_version").value());
  };
  CHECK(format() == 1);
  int number = 1;
  for (const char* version : {"v1", "v2", "v3", "v1"}) {
    ++number;
    const Json body{{"service", "shop"}, {"host", "web1"}, {"version", version}, {"images", {{"web", version}}}};
    agent.get("journal.append", agent.of("r1", {row(number, "release", body)}));
  }
  CHECK(format() == 2);
  const Json found = agent.get("journal.releases", question);
  REQUIRE(found.size() == 2);
  CHECK(found[0]["version"] == "v1");
  CHECK(found[0]["time"] == 1005);
  CHECK(found[1]["version"] == "v3");
  CHECK(agent.get("journal.unfinished", {{"name", "shop"}})["rows"] == 5);
}
