#include "lock/keeper.hpp"

#include <catch2/catch_test_macros.hpp>
#include <thread>

#include "../../scratch.hpp"
#include "lock/call.hpp"

using namespace deployrun;
using lock::Json;
using lock::Keeper;

namespace {

Json claim(const std::string& id, bool by_hand = false) {
  return {{"id", id},     {"owner", "ann@laptop"}, {"message", "deploy v2"}, {"run", "r1"},
          {"ci_url", ""}, {"version", "1"},        {"lease_ms", 30'000},     {"by_hand", by_hand}};
}

core::Result<Json> ask(Keeper& keeper, const char* method, const Json& params) {
  return keeper.answer(method, params, Keeper::Stop(false));
}

core::Result<Json> acquire(Keeper& keeper, const std::string& id, int patience_ms = 0) {
  return ask(keeper, "acquire", {{"name", "shop"}, {"claim", claim(id)}, {"patience_ms", patience_ms}});
}

Json status(Keeper& keeper) { return ask(keeper, "status", {{"name", "shop"}}).value(); }

}  // namespace

TEST_CASE("a keeper gives a lock to one, tells the other who has it, and frees it when it ends") {
  test::Scratch scratch;
  Keeper second(scratch.path("state"));
  CHECK_FALSE(status(second).contains("holder"));
  Json first_identity;
  {
    Keeper first(scratch.path("state"));
    const Json taken = acquire(first, "a").value();
    CHECK(taken["token"] == 1);
    first_identity = taken["identity"];
    const auto refused = acquire(second, "b");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == "lock.held");
    CHECK(std::get<std::string>(refused.error().details.at("holder_id")) == "a");
    CHECK(status(second)["holder"]["owner"] == "ann@laptop");
    CHECK(ask(first, "renew", {{"claim", taken["claim"]}}));
  }
  const Json taken = acquire(second, "b").value();
  CHECK(taken["token"] == 2);
  CHECK(taken["identity"] == first_identity);
  CHECK(taken["replaced"]["id"] == "a");  // it had not been given back
  CHECK(taken["free_ms"] == 0);
  REQUIRE(ask(second, "release", {{"claim", taken["claim"]}}));
  const Json again = acquire(second, "c").value();
  CHECK_FALSE(again.contains("replaced"));
}

TEST_CASE("who waits comes before who does not, and a lost process takes its lock again") {
  test::Scratch scratch;
  Keeper holder(scratch.path("state"));
  Keeper waiter(scratch.path("state"));
  Keeper late(scratch.path("state"));
  const Json taken = acquire(holder, "a").value();
  core::Result<Json> waited = core::cancelled();
  std::thread waiting([&] { waited = acquire(waiter, "b", 20'000); });
  while (status(late)["waiting"].empty()) std::this_thread::yield();
  CHECK(acquire(late, "c").error().kind == "lock.held");
  REQUIRE(ask(holder, "release", {{"claim", taken["claim"]}}));
  waiting.join();
  REQUIRE(waited);
  CHECK((*waited)["token"] == 2);
  CHECK(status(late)["waiting"].empty());

  // Another process of the same run: the one before may still hold the kernel's lock.
  const Json again{{"name", "shop"}, {"claim", claim("b")}, {"again", 2}};
  CHECK(ask(late, "acquire", again).value()["token"] == 3);
  CHECK(ask(waiter, "renew", {{"claim", (*waited)["claim"]}}).error().kind == "lock.lost");
  CHECK(ask(holder, "acquire", again).error().kind == "lock.lost");
}

TEST_CASE("who gave a lock back is not admitted any more, and the next one has nobody's connection to end") {
  test::Scratch scratch;
  Keeper first(scratch.path("state"));
  Keeper second(scratch.path("state"));
  const auto take = [](Keeper& keeper, const std::string& id) {
    return ask(keeper, "acquire", {{"name", "shop"}, {"claim", claim(id)}, {"patience_ms", 0}, {"admit", true}});
  };
  const Json taken = take(first, "a").value();
  REQUIRE(ask(first, "release", {{"claim", taken["claim"]}}));
  // Nobody knows what carries the connection of `first`: were it still admitted, this would be `lock.fence`.
  REQUIRE(take(second, "b"));
}

TEST_CASE("a wait ends when it is stopped, and leaves the queue") {
  test::Scratch scratch;
  Keeper holder(scratch.path("state"));
  Keeper waiter(scratch.path("state"));
  REQUIRE(acquire(holder, "a"));
  const Keeper::Stop stop(true);
  const Json params{{"name", "shop"}, {"claim", claim("b")}, {"patience_ms", 60'000}};
  CHECK(waiter.answer("acquire", params, stop).error().kind == "cancelled");
  CHECK(status(holder)["waiting"].empty());
}

TEST_CASE("what a person takes stays without a process, until it is released or broken by its id") {
  test::Scratch scratch;
  const Json params{{"name", "shop"}, {"claim", claim("hand", true)}, {"patience_ms", 0}};
  { REQUIRE(ask(*std::make_unique<Keeper>(scratch.path("state")), "acquire", params)); }
  Keeper keeper(scratch.path("state"));
  CHECK(acquire(keeper, "b").error().kind == "lock.held");
  const auto release = [&] { return ask(keeper, "release", {{"name", "shop"}, {"by", claim("me")}}); };
  CHECK(release().value()["id"] == "hand");
  CHECK(release().error().kind == "lock.not_found");
  REQUIRE(acquire(keeper, "run"));
  CHECK(release().error().kind == "lock.not_found");  // a run's is not given back by others
  const auto take_away = [&](const char* id) {
    return ask(keeper, "break", {{"name", "shop"}, {"id", id}, {"by", claim("me")}});
  };
  CHECK(take_away("other").error().kind == "lock.not_found");
  CHECK(take_away("run").value()["id"] == "run");
  CHECK(acquire(keeper, "next"));
}

TEST_CASE("a keeper admits rising tokens alone, and knows the locks of its folder apart") {
  test::Scratch scratch;
  Keeper keeper(scratch.path("state"));
  const auto admit = [&](const char* identity, int token) {
    return ask(keeper, "admit", {{"name", "shop"}, {"identity", identity}, {"token", token}});
  };
  REQUIRE(admit("aa", 4));
  CHECK(admit("aa", 3).error().kind == "lock.stale");
  CHECK(admit("bb", 1));  // of another server's lock
}

TEST_CASE("a keeper refuses wrong parameters and names that lead elsewhere") {
  test::Scratch scratch;
  Keeper keeper(scratch.path("state"));
  for (const char* name : {"../x", ".x", "", "a/b"}) {
    CHECK(ask(keeper, "status", {{"name", name}}).error().kind == "usage");
  }
  CHECK(ask(keeper, "status", {{"name", "x"}, {"other", 1}}).error().kind == "usage");
  CHECK(ask(keeper, "status", Json::array()).error().kind == "usage");
  CHECK(ask(keeper, "renew", {{"claim", 7}}).error().kind == "usage");
  CHECK(ask(keeper, "steal", Json::object()).error().kind == "lock.method");
  Keeper homeless("");
  CHECK(ask(homeless, "status", {{"name", "x"}}).error().kind == "lock.io");
}

TEST_CASE("a question on the pool that is cancelled gives back what it got") {
  test::Scratch scratch;
  core::Loop loop;
  const auto keeper = std::make_shared<Keeper>(scratch.path("state"));
  Keeper holder(scratch.path("state"));
  REQUIRE(acquire(holder, "a"));
  auto asked = lock::call(loop, keeper, "acquire", {{"name", "shop"}, {"claim", claim("b")}, {"patience_ms", 60'000}});
  std::optional<core::Result<Json>> result;
  asked->start([&](core::Result<Json> answer) {
    result.emplace(std::move(answer));
    loop.stop();
  });
  while (status(holder)["waiting"].empty()) std::this_thread::yield();
  asked->cancel();
  loop.run();
  REQUIRE(result);
  CHECK(result->error().kind == "cancelled");
  CHECK(status(holder)["waiting"].empty());
}
