#include "agent_program/requests.hpp"

#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <thread>

#include "../scratch.hpp"

using namespace deployrun;
using agent::Cancellation;
using agent::Json;
using test::Scratch;

namespace {

struct Agent {
  agent::Requests requests;

  core::Result<Json> ask(const std::string& method, const Json& params) {
    Cancellation cancellation;
    return requests.answer(method, params, cancellation);
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
  std::int64_t open(const std::string& path) {
    return get("open", {{"path", path}, {"create", true}, {"patience_ms", 100}})["connection"];
  }
};

}  // namespace

TEST_CASE("what is asked wrongly is a usage error that names it") {
  Agent agent;
  CHECK(agent.kind("destroy", {}) == "agent.method");
  CHECK(agent.kind("open", Json::array()) == "usage");
  CHECK(agent.kind("open", {}) == "usage");
  CHECK(agent.kind("open", {{"path", 1}, {"patience_ms", 0}}) == "usage");
  CHECK(agent.kind("open", {{"path", std::string("a\0b", 3)}, {"patience_ms", 0}}) == "usage");
  CHECK(agent.kind("open", {{"path", "x"}, {"patience_ms", -1}}) == "usage");
  CHECK(agent.kind("open", {{"path", "x"}, {"patience_ms", 0}, {"craete", true}}) == "usage");
  CHECK(agent.kind("query", {{"connection", 9}, {"sql", "SELECT 1"}}) == "usage");
  auto said = agent.ask("space", {{"path", "/x"}, {"evil\x1b[2J", 1}});
  REQUIRE_FALSE(said);
  CHECK(said.error().message.find('\x1b') == std::string::npos);
}

TEST_CASE("opens, changes and reads; a transaction ends with its connection") {
  Scratch scratch;
  Agent agent;
  const auto one = agent.open(scratch.path("a.sqlite3"));
  agent.get("execute", {{"connection", one}, {"sql", "CREATE TABLE t (n INTEGER, s TEXT)"}});
  const Json put = agent.get("run", {{"connection", one},
                                     {"sql", "INSERT INTO t VALUES (:n, :s)"},
                                     {"values", {{"n", 5}, {"s", {{"base64", "/w=="}}}}}});
  CHECK(put["changes"] == 1);
  const Json rows =
      agent.get("query", {{"connection", one}, {"sql", "SELECT n, s FROM t WHERE n = ?1"}, {"values", {5}}});
  CHECK(rows["rows"][0][0] == 5);
  CHECK(rows["rows"][0][1]["base64"] == "/w==");
  CHECK(agent.kind("query", {{"connection", one}, {"sql", "DELETE FROM t"}}) == "usage");

  agent.get("begin", {{"connection", one}, {"patience_ms", 0}});
  agent.get("run", {{"connection", one}, {"sql", "DELETE FROM t"}});
  const auto other = agent.open(scratch.path("a.sqlite3"));
  CHECK(agent.kind("begin", {{"connection", other}, {"patience_ms", 20}}) == "sqlite.busy");
  CHECK(agent.get("close", {{"connection", one}}) == true);
  CHECK(agent.get("close", {{"connection", one}}) == false);
  agent.get("begin", {{"connection", other}, {"exclusive", true}, {"patience_ms", 0}});
  CHECK(agent.get("query", {{"connection", other}, {"sql", "SELECT count(*) FROM t"}})["rows"][0][0] == 1);
  agent.get("rollback", {{"connection", other}});
  agent.get("rollback", {{"connection", other}});  // there is none any more
}

TEST_CASE("once, snapshots, restore, check and space") {
  Scratch scratch;
  Agent agent;
  const auto one = agent.open(scratch.path("a.sqlite3"));
  CHECK(agent.get("was_done", {{"connection", one}, {"key", "seed"}}) == false);
  agent.get("execute", {{"connection", one}, {"sql", "CREATE TABLE t (n); INSERT INTO t VALUES (1)"}});
  agent.get("mark_done", {{"connection", one}, {"key", "seed"}});
  CHECK(agent.get("was_done", {{"connection", one}, {"key", "seed"}}) == true);

  const Json copied = agent.get(
      "snapshot", {{"from", scratch.path("a.sqlite3")}, {"to", scratch.path("b.sqlite3")}, {"patience_ms", 0}});
  CHECK(copied["pages"].get<int>() > 0);
  CHECK(agent.kind("snapshot",
                   {{"from", scratch.path("a.sqlite3")}, {"to", scratch.path("b.sqlite3")}, {"patience_ms", 0}}) ==
        "sqlite.exists");
  agent.get("run", {{"connection", one}, {"sql", "DELETE FROM t"}});
  agent.get("restore", {{"from", scratch.path("b.sqlite3")}, {"to", scratch.path("a.sqlite3")}, {"patience_ms", 0}});
  CHECK(agent.get("query", {{"connection", one}, {"sql", "SELECT count(*) FROM t"}})["rows"][0][0] == 1);
  CHECK(agent.get("check", {{"path", scratch.path("a.sqlite3")}, {"patience_ms", 0}}) == Json::array());
  CHECK(agent.get("space", {{"path", scratch.path("a.sqlite3")}})["bytes"].get<int>() > 0);
  CHECK(agent.kind("check", {{"path", scratch.path("none.sqlite3")}, {"patience_ms", 0}}) == "sqlite.open");
  CHECK(agent.get("holders", {{"path", scratch.path("a.sqlite3")}}) == Json::array());
  agent.get("wait_free", {{"path", scratch.path("a.sqlite3")}, {"patience_ms", 0}});
}

TEST_CASE("a mutex is held until it is given back, or everything is closed") {
  Scratch scratch;
  Agent one, other;
  const Json ask{{"path", scratch.path("deploy.lock")}, {"says", "somebody"}, {"patience_ms", 20}};
  const auto lock = one.get("lock", ask)["lock"];
  auto busy = other.ask("lock", ask);
  REQUIRE_FALSE(busy);
  CHECK(busy.error().is("sqlite.busy"));
  CHECK(busy.error().message.find("somebody") != std::string::npos);
  CHECK(one.get("unlock", {{"lock", lock}}) == true);
  CHECK(one.get("unlock", {{"lock", lock}}) == false);
  other.get("lock", ask);
  CHECK(one.kind("lock", ask) == "sqlite.busy");
  other.requests.close_all();
  one.get("lock", ask);
}

TEST_CASE("what waits or computes is stopped from outside, for the reason that is given") {
  Scratch scratch;
  Agent agent;
  const auto one = agent.open(scratch.path("a.sqlite3"));
  const auto other = agent.open(scratch.path("a.sqlite3"));
  agent.get("begin", {{"connection", one}, {"patience_ms", 0}});
  const std::string endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
  const std::pair<std::string, Json> cases[] = {
      {"begin", {{"connection", other}, {"patience_ms", 60'000}}},
      {"query", {{"connection", other}, {"sql", endless}}},
      {"lock", {{"path", scratch.path("m.lock")}, {"says", "x"}, {"patience_ms", 60'000}}},
  };
  agent.get("lock", {{"path", scratch.path("m.lock")}, {"says", "x"}, {"patience_ms", 0}});
  for (const auto& [method, params] : cases) {
    INFO(method);
    Cancellation cancellation;
    std::string kind;
    std::thread worker([&, &asked = method, &with = params] {
      auto said = agent.requests.answer(asked, with, cancellation);
      kind = said ? "answered" : said.error().kind;
    });
    std::this_thread::sleep_for(core::Milliseconds(30));  // so that it is in the middle of it, mostly
    cancellation.cancel({.kind = "timeout", .message = "not done in time"});
    cancellation.cancel(core::cancelled());  // the first reason counts
    worker.join();
    CHECK(kind == "timeout");
  }
}

TEST_CASE("who waits for a connection that another request uses can be cancelled") {
  Scratch scratch;
  Agent agent;
  const auto one = agent.open(scratch.path("a.sqlite3"));
  const std::string endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
  Cancellation long_one, short_one;
  std::atomic<bool> begun{false};
  std::thread first([&] {
    begun = true;
    (void)agent.requests.answer("query", {{"connection", one}, {"sql", endless}}, long_one);
  });
  while (!begun) std::this_thread::yield();
  std::this_thread::sleep_for(core::Milliseconds(50));
  std::string kind;
  std::thread second([&] {
    auto said = agent.requests.answer("query", {{"connection", one}, {"sql", "SELECT 1"}}, short_one);
    kind = said ? "answered" : said.error().kind;
  });
  std::this_thread::sleep_for(core::Milliseconds(30));
  short_one.cancel(core::cancelled());
  second.join();
  CHECK(kind == "cancelled");
  long_one.cancel(core::cancelled());
  first.join();
}
