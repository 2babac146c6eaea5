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
  std::shared_ptr<Client> connect(agent::ClientOptions options) {
    options.host = "h1";
    auto connecting = Client::connect(loop, dial(), std::move(options));
    auto client = run(loop, *connecting);
    REQUIRE(client);
    settle(loop);
    return *client;
  }
  std::shared_ptr<Client> connect(core::Milliseconds lease = core::Milliseconds(30'000)) {
    return connect(agent::ClientOptions{.lease = lease});
  }
  std::shared_ptr<Client> connect(agent::Request first) {
    return connect(agent::ClientOptions{.first = std::move(first)});
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

TEST_CASE("a request goes with the hello and is answered once, before or after somebody asks") {
  Peer peer;
  peer.answer = [&](const Json& request) { return Json(request["params"]["path"]); };
  const auto client = peer.connect(agent::Request{"check", {{"path", "a"}}});
  CHECK(peer.count("check") == 1);
  const auto said = run(peer.loop, *client->first());
  REQUIRE(said);
  CHECK(*said == "a");
  const auto again = run(peer.loop, *client->first());
  REQUIRE_FALSE(again);
  CHECK(again.error().is("usage"));

  Peer slow;
  slow.answer = [&](const Json&) { return kSilence; };
  const auto asking = slow.connect(agent::Request{"check", {{"path", "a"}}});
  const auto first = asking->first();
  std::string heard;
  first->start([&](core::Result<Json> result) { heard = result ? (*result).get<std::string>() : "!"; });
  settle(slow.loop);
  CHECK(heard.empty());
  slow.say(slow.asked.back()["id"], "late");
  settle(slow.loop);
  CHECK(heard == "late");
}

TEST_CASE("a request that went with the hello is called off when nobody waits any more, and fails with the line") {
  Peer peer;
  peer.answer = [&](const Json&) { return kSilence; };
  const auto client = peer.connect(agent::Request{"lock.acquire", Json::object()});
  core::Result<Json> outcome = Json(true);
  const auto first = client->first();
  first->start([&](core::Result<Json> result) { outcome = std::move(result); });
  first->cancel();
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().is("cancelled"));
  settle(peer.loop);
  REQUIRE(peer.count("cancel") == 1);
  peer.say(peer.asked[1]["id"], Json{{"claim", 7}});  // it had been given meanwhile
  settle(peer.loop);
  CHECK(peer.count("lock.release") == 1);

  Peer gone;
  gone.answer = [&](const Json&) { return kSilence; };
  const auto closed = gone.connect(agent::Request{"lock.acquire", Json::object()});
  closed->close();
  const auto lost = run(gone.loop, *closed->first());
  REQUIRE_FALSE(lost);
  CHECK(lost.error().is("agent.lost"));
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
  const auto client = peer.connect(core::Milliseconds(900));
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

TEST_CASE("what is sent ahead is on its way before the next thing is asked, and may be waited for by many, or later") {
  Peer peer;
  const auto client = peer.connect();
  peer.answer = [&](const Json&) { return kSilence; };
  auto sending = client->send("journal.append", {{"rows", Json::array()}});
  auto sent = run(peer.loop, *sending);
  REQUIRE(sent);
  settle(peer.loop);
  REQUIRE(peer.count("journal.append") == 1);
  const Json id = peer.asked.back()["id"];
  sending.reset();
  std::string heard;
  CHECK_FALSE((*sent)->ready());
  auto first = (*sent)->wait(), second = (*sent)->wait(), third = (*sent)->wait();
  first->start([&](core::Result<Json> said) { heard += said ? "first " : said.error().kind; });
  second->start([&](core::Result<Json> said) { heard += said ? "second " : said.error().kind + " "; });
  second->cancel();
  CHECK(heard == "cancelled ");
  third->start([&](core::Result<Json>) { heard += "third "; });
  third.reset();
  peer.say(id, true);
  settle(peer.loop);
  CHECK(heard == "cancelled first ");
  CHECK((*sent)->ready());
  CHECK(peer.count("cancel") == 0);
  auto late = (*sent)->wait();
  CHECK(run(peer.loop, *late));

  auto again = client->send("journal.append", {});
  sent = run(peer.loop, *again);
  auto lost = (*sent)->wait();
  std::string how;
  lost->start([&](core::Result<Json> said) { how = said ? "answered" : said.error().kind; });
  client->close();
  CHECK(how == "agent.lost");
  CHECK((*sent)->ready());
  auto after = client->send("journal.append", {});
  CHECK(run(peer.loop, *after).error().is("agent.lost"));
}
