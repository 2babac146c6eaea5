#include "agent/client.hpp"

#include <catch2/catch_test_macros.hpp>

#include "../http/scripted.hpp"

using namespace deployrun;
using namespace deployrun::test;
using agent::Client;
using agent::Json;

namespace {

/// An agent that is a function: what it is asked, and what it says.
struct Peer {
  core::Loop loop;
  std::shared_ptr<Wire> wire = std::make_shared<Wire>();
  std::vector<Json> asked;  ///< without heartbeats
  int beats = 0;
  bool answers_beats = true;
  std::function<Json(const Json& request)> answer = [](const Json&) { return Json(true); };

  Peer() {
    wire->on_bytes = [this](Wire& one) {
      for (std::size_t end = 0; (end = one.received.find('\n')) != std::string::npos;) {
        const Json line = Json::parse(one.received.substr(0, end));
        one.received.erase(0, end + 1);
        if (line.contains("beat")) {
          ++beats;
          if (answers_beats) one.push(line.dump() + "\n");
          continue;
        }
        asked.push_back(line);
        if (line["method"] == "hello") {
          say(line["id"], Json{{"protocol", 1}, {"arch", "x86_64"}});
        } else if (const Json said = answer(line); !said.is_discarded()) {
          say(line["id"], said);
        }
      }
    };
  }
  void say(const Json& id, const Json& result) { wire->push(Json{{"id", id}, {"result", result}}.dump() + "\n"); }
  core::Dial dial() {
    return [this](auto done) -> std::shared_ptr<void> {
      done(std::unique_ptr<core::Stream>(std::make_unique<ScriptedStream>(loop, wire)));
      return nullptr;
    };
  }
  std::shared_ptr<Client> connect(core::Milliseconds lease = core::Milliseconds(30'000)) {
    auto connecting = Client::connect(loop, dial(), {.host = "h1", .lease = lease});
    auto client = run(loop, *connecting);
    REQUIRE(client);
    return *client;
  }
  int count(const std::string& method) const {
    int found = 0;
    for (const auto& each : asked) found += each["method"] == method ? 1 : 0;
    return found;
  }
};

const Json kSilence = Json(Json::value_t::discarded);

}  // namespace

TEST_CASE("says hello, then asks; several requests at a time, answered in any order") {
  Peer peer;
  const auto client = peer.connect();
  CHECK(client->hello()["arch"] == "x86_64");
  CHECK(peer.asked[0]["params"]["protocol"] == agent::kProtocol);

  peer.answer = [&](const Json&) { return kSilence; };
  auto first = client->call("check", {{"path", "a"}});
  auto second = client->call("check", {{"path", "b"}});
  std::string order;
  first->start([&](core::Result<Json> said) { order += said ? (*said).get<std::string>() : "!"; });
  second->start([&](core::Result<Json> said) { order += said ? (*said).get<std::string>() : "!"; });
  settle(peer.loop);
  REQUIRE(peer.asked.size() == 3);
  peer.say(peer.asked[2]["id"], "second ");
  peer.say(peer.asked[1]["id"], "first");
  settle(peer.loop);
  CHECK(order == "second first");
  client->close();
}

TEST_CASE("an error of the agent is the caller's, with its host") {
  Peer peer;
  const auto client = peer.connect();
  peer.answer = [&](const Json& request) {
    peer.wire->push(Json{{"id", request["id"]}, {"error", {{"kind", "sqlite.busy"}, {"message", "busy"}}}}.dump() +
                    "\n");
    return kSilence;
  };
  auto call = client->call("wait_free", {});
  auto said = run(peer.loop, *call);
  REQUIRE_FALSE(said);
  CHECK(said.error().is("sqlite.busy"));
  CHECK(said.error().host == "h1");
  CHECK(client->alive());
  client->close();
}

TEST_CASE("a cancelled request is called off, and what it made meanwhile is given back") {
  Peer peer;
  const auto client = peer.connect();
  peer.answer = [&](const Json& request) {
    return request["method"] == "open" || request["method"] == "lock" ? kSilence : Json(true);
  };
  for (const auto& [method, made, gives_back] :
       {std::tuple{"open", "connection", "close"}, std::tuple{"lock", "lock", "unlock"}}) {
    auto call = client->call(method, {});
    std::string how;
    call->start([&](core::Result<Json> said) { how = said ? "answered" : said.error().kind; });
    settle(peer.loop);
    const Json id = peer.asked.back()["id"];
    call->cancel();
    CHECK(how == "cancelled");
    call.reset();
    settle(peer.loop);
    CHECK(peer.asked.back()["method"] == "cancel");
    CHECK(peer.asked.back()["params"]["id"] == id);
    peer.say(id, Json{{made, 7}});  // too late
    settle(peer.loop);
    CHECK(peer.asked.back()["method"] == gives_back);
    CHECK(peer.asked.back()["params"][made] == 7);
  }
  // Destroyed without a word is cancelled as well.
  auto dropped = client->call("open", {});
  dropped->start([](core::Result<Json>) { FAIL("nobody waits for it"); });
  dropped.reset();
  settle(peer.loop);
  CHECK(peer.asked.back()["method"] == "cancel");
  client->close();
}

TEST_CASE("a request that is too long fails by itself, the line stays") {
  Peer peer;
  const auto client = peer.connect();
  auto call = client->call("execute", {{"sql", std::string(agent::kLongestRequest, 'x')}});
  auto said = run(peer.loop, *call);
  REQUIRE_FALSE(said);
  CHECK(said.error().is("sqlite.too_large"));
  auto next = client->call("check", {});
  CHECK(run(peer.loop, *next));
  CHECK(peer.count("execute") == 0);
  client->close();
}

TEST_CASE("the end of the line ends every request, with the reason below") {
  for (const bool breaks : {false, true}) {
    Peer peer;
    const auto client = peer.connect();
    peer.answer = [&](const Json&) { return kSilence; };
    auto call = client->call("check", {});
    std::optional<core::Error> why;
    call->start([&](core::Result<Json> said) { why = said.error(); });
    settle(peer.loop);
    if (breaks) {
      peer.wire->fail({.kind = "ssh.lost", .message = "cut"});
    } else {
      peer.wire->end();
    }
    settle(peer.loop);
    REQUIRE(why);
    CHECK(why->is("agent.lost"));
    REQUIRE(why->cause);
    CHECK(why->cause->kind == (breaks ? "ssh.lost" : "agent.ended"));
    CHECK_FALSE(client->alive());
    auto late = client->call("check", {});
    auto said = run(peer.loop, *late);
    REQUIRE_FALSE(said);
    CHECK(said.error().is("agent.lost"));
  }
}

TEST_CASE("lines that are none of the protocol end it") {
  for (const char* line :
       {"Welcome to the server!\n", "[]\n", "{\"result\": 1}\n", "{\"id\": \"x\", \"result\": 1}\n"}) {
    INFO(line);
    Peer peer;
    const auto client = peer.connect();
    peer.answer = [&](const Json&) { return kSilence; };
    auto call = client->call("check", {});
    std::optional<core::Error> why;
    call->start([&](core::Result<Json> said) { why = said.error(); });
    settle(peer.loop);
    peer.wire->push(line);
    settle(peer.loop);
    REQUIRE(why);
    CHECK(why->is("agent.lost"));
    CHECK(why->cause->is("agent.protocol"));
  }
}

TEST_CASE("an agent that is not heard any more is lost; one that answers heartbeats is not") {
  Peer peer;
  const auto client = peer.connect(core::Milliseconds(90));
  run_until(peer.loop, [&] { return peer.beats >= 6; });  // two leases
  CHECK(client->alive());
  peer.answers_beats = false;
  run_until(peer.loop, [&] { return !client->alive(); });
  REQUIRE(client->lost());
  CHECK(client->lost()->cause->is("timeout"));
  CHECK(peer.wire->closed);
}

TEST_CASE("what cannot be dialled says why; a connect can be cancelled") {
  core::Loop loop;
  auto connecting = Client::connect(loop,
                                    [](auto done) -> std::shared_ptr<void> {
                                      done(core::Error{.kind = "ssh.exec", .message = "no such program"});
                                      return nullptr;
                                    },
                                    {});
  auto client = run(loop, *connecting);
  REQUIRE_FALSE(client);
  CHECK(client.error().is("ssh.exec"));

  Peer peer;
  peer.wire->on_bytes = nullptr;  // it never says hello
  auto waiting = Client::connect(peer.loop, peer.dial(), {});
  std::string how;
  waiting->start([&](core::Result<std::shared_ptr<Client>> said) { how = said ? "connected" : said.error().kind; });
  settle(peer.loop);
  waiting->cancel();
  CHECK(how == "cancelled");
  CHECK(peer.wire->closed);
}
