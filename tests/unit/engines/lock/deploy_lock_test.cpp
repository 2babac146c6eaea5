#include "lock/deploy_lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <vector>

#include "../../scratch.hpp"

using namespace deployrun;
using lock::Claim;
using lock::Claims;
using lock::DeployLock;

namespace {

class FakeClock final : public lock::HostClock {
 public:
  std::int64_t now_ms() const override { return now; }
  const std::string& boot() const override { return boot_id; }
  std::int64_t now = 1000;
  std::string boot_id = "boot-1";
};

struct Fixture {
  test::Scratch scratch;
  FakeClock clock;
  Claims claims = Claims::open(scratch.path("lock")).value();

  DeployLock::Attempt attempt(const std::string& id) {
    return DeployLock::try_acquire(claims, claim(id), clock).value();
  }
  static Claim claim(const std::string& id) {
    return {.id = id, .owner = "ann@laptop", .message = "ship v2", .run = "run-" + id, .lease_ms = 30'000};
  }
};

/// Runs `fn` in a process of its own; what it returned is the exit code.
pid_t in_child(const std::function<int()>& fn) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(fn());
  return child;
}

int code_of(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("the deploy lock is taken, seen by others, and given back") {
  Fixture f;
  auto first = f.attempt("a");
  REQUIRE(first.lock);
  CHECK(first.lock->token() == 1);
  CHECK_FALSE(first.replaced);

  const auto second = f.attempt("b");
  REQUIRE_FALSE(second.lock);
  CHECK(second.holder->record.claim.id == "a");
  CHECK(second.holder->record.claim.owner == "ann@laptop");
  CHECK(second.holder->alive);

  REQUIRE(first.lock->release());
  CHECK_FALSE(DeployLock::holder(f.claims, f.clock).value());
  auto third = f.attempt("c");
  REQUIRE(third.lock);
  CHECK(third.lock->token() == 2);
  CHECK_FALSE(third.replaced);  // it had been given back
}

TEST_CASE("a holder that ended is no holder") {
  Fixture f;
  { REQUIRE(f.attempt("a").lock); }
  auto next = f.attempt("b");
  REQUIRE(next.lock);
  CHECK(next.lock->token() == 2);
  REQUIRE(next.replaced);
  CHECK(next.replaced->claim.id == "a");
}

TEST_CASE("a holder without a sign of life is taken over after its lease and the grace, and learns of it") {
  Fixture f;
  auto old = f.attempt("a");
  REQUIRE(old.lock);
  f.clock.now += 20'000;
  REQUIRE(old.lock->renew());
  f.clock.now += 30'000 + lock::kGraceMs;
  CHECK_FALSE(f.attempt("b").lock);
  f.clock.now += 1;
  auto next = f.attempt("b");
  REQUIRE(next.lock);
  CHECK(next.lock->token() == 2);
  CHECK(next.replaced->claim.id == "a");

  const auto renewed = old.lock->renew();
  REQUIRE_FALSE(renewed);
  CHECK(renewed.error().kind == "lock.lost");
  CHECK(std::get<std::string>(renewed.error().details.at("holder_id")) == "b");
  CHECK(old.lock->release().error().kind == "lock.lost");
  CHECK(f.attempt("c").holder->record.claim.id == "b");  // what the old one wrote went to its own claim
}

TEST_CASE("a claim from before the host's last boot has nobody behind it") {
  Fixture f;
  auto old = f.attempt("a");
  f.clock.boot_id = "boot-2";
  f.clock.now = 5;
  CHECK(f.attempt("b").lock);
}

TEST_CASE("a lock taken by hand stays until it is given back or broken") {
  Fixture f;
  Claim hand = f.claim("hand");
  hand.by_hand = true;
  { REQUIRE(DeployLock::try_acquire(f.claims, hand, f.clock).value().lock); }
  f.clock.now += 1'000'000;
  CHECK(f.attempt("b").holder->record.claim.by_hand);
  CHECK(DeployLock::break_claim(f.claims, "other", f.claim("me"), f.clock).error().kind == "lock.not_found");
  const auto broken = DeployLock::break_claim(f.claims, "hand", f.claim("me"), f.clock);
  REQUIRE(broken);
  CHECK(broken->claim.id == "hand");
  CHECK(DeployLock::break_claim(f.claims, "hand", f.claim("me"), f.clock).error().kind == "lock.not_found");
  CHECK(f.attempt("b").lock->token() == 3);
}

TEST_CASE("a broken lock is lost to its living holder") {
  Fixture f;
  auto held = f.attempt("a");
  REQUIRE(DeployLock::break_claim(f.claims, "a", f.claim("me"), f.clock));
  CHECK(held.lock->renew().error().kind == "lock.lost");
  CHECK(f.attempt("b").lock);
}

TEST_CASE("one who looked long ago cannot come back with a token that was used and forgotten") {
  Fixture f;
  for (int turn = 0; turn < 3; ++turn) REQUIRE(f.attempt("a").lock->release());
  REQUIRE(f.claims.highest_token().value() == 3);
  lock::Record stale{.claim = f.claim("late"), .token = 1, .acquired_at = 0, .boot = "boot-1"};
  CHECK_FALSE(f.claims.add(stale).value());
  CHECK(f.claims.highest_token().value() == 3);
  CHECK_FALSE(std::filesystem::exists(f.scratch.path("lock/claim-1")));
}

TEST_CASE("what is no claim is refused with words, and a folder of others too") {
  Fixture f;
  const auto put = [&](const std::string& text) { std::ofstream(f.scratch.path("lock/claim-7")) << text; };
  const std::string held = "held     " + std::string(28, '0') + "42\n";
  const std::vector<std::string> bad = {"",
                                        held,
                                        std::string(100, 'x'),
                                        "held     " + std::string(29, '0') + "x\n{\"id\":\"a\"}\n",
                                        held + "[]\n",
                                        held + "{\"id\":\"\"}\n",
                                        held + "{\"id\":\"a\",\"lease_ms\":-1}\n",
                                        held + "{\"id\":\"a\",\"by_hand\":5}\n",
                                        held + "{\"id\":"};
  put(held + "{\"id\":\"a\"}\n");
  CHECK(f.claims.highest().value()->record.renewed_ms == 42);
  for (const std::string& text : bad) {
    put(text);
    CHECK(f.claims.highest().error().kind == "lock.corrupt");
  }
  std::filesystem::permissions(f.scratch.path("lock"), std::filesystem::perms(0777));
  CHECK(Claims::open(f.scratch.path("lock")).error().kind == "lock.io");
}

namespace {

constexpr int kBroken = 9;

/// Takes the lock `turns` times and does in it what only one may do at a time.
int contend(const test::Scratch& scratch, const std::string& name, int turns) {
  const lock::HostClock clock;
  const auto claims = Claims::open(scratch.path("lock"));
  if (!claims) return 2;
  std::uint64_t last = 0;
  for (int turn = 0; turn < turns;) {
    auto attempt = DeployLock::try_acquire(*claims, Fixture::claim(name), clock);
    if (!attempt) return 3;
    if (!attempt->lock) {
      ::sched_yield();
      continue;
    }
    if (attempt->lock->token() <= last) return kBroken;
    last = attempt->lock->token();
    const std::string inside = scratch.path("inside");
    const int fd = ::open(inside.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) return kBroken;
    ::close(fd);
    ::unlink(inside.c_str());
    // Some end without a word, as processes do.
    if (turn % 3 != 0 && !attempt->lock->release()) return 4;
    ++turn;
  }
  return 0;
}

void check_contention(int contenders, int turns) {
  test::Scratch scratch;
  std::vector<pid_t> children;
  for (int index = 0; index < contenders; ++index) {
    children.push_back(in_child([&] { return contend(scratch, "c" + std::to_string(index), turns); }));
  }
  for (const pid_t child : children) CHECK(code_of(child) == 0);
  const auto claims = Claims::open(scratch.path("lock")).value();
  CHECK(claims.highest_token().value() == static_cast<std::uint64_t>(contenders * turns));
}

}  // namespace

TEST_CASE("two contend for the deploy lock, never two hold it") { check_contention(2, 100); }
TEST_CASE("ten contend for the deploy lock, never two hold it") { check_contention(10, 20); }
TEST_CASE("contention in its full size", "[.slow]") {
  check_contention(2, 1000);
  check_contention(10, 100);
}

TEST_CASE("the lock of a process that is killed is free at once") {
  test::Scratch scratch;
  std::array<int, 2> pipe{};
  REQUIRE(::pipe(pipe.data()) == 0);
  const pid_t child = in_child([&] {
    const lock::HostClock clock;
    const auto claims = Claims::open(scratch.path("lock"));
    auto attempt = DeployLock::try_acquire(*claims, Fixture::claim("killed"), clock);
    const char byte = attempt && attempt->lock ? 'y' : 'n';
    if (::write(pipe[1], &byte, 1) != 1) return 1;
    ::pause();
    return 0;
  });
  char byte = 0;
  REQUIRE(::read(pipe[0], &byte, 1) == 1);
  REQUIRE(byte == 'y');
  const lock::HostClock clock;
  const auto claims = Claims::open(scratch.path("lock")).value();
  SECTION("killed") {
    CHECK_FALSE(DeployLock::try_acquire(claims, Fixture::claim("b"), clock).value().lock);
    ::kill(child, SIGKILL);
    CHECK(code_of(child) == 128 + SIGKILL);
    CHECK(DeployLock::try_acquire(claims, Fixture::claim("b"), clock).value().replaced->claim.id == "killed");
  }
  SECTION("stopped, it holds up nobody beyond its lease") {
    ::kill(child, SIGSTOP);
    FakeClock later;
    later.boot_id = clock.boot();
    later.now = clock.now_ms() + 30'000 + lock::kGraceMs + 1000;
    CHECK(DeployLock::try_acquire(claims, Fixture::claim("b"), later).value().lock->token() == 2);
    ::kill(child, SIGKILL);
    ::kill(child, SIGCONT);
    code_of(child);
  }
  ::close(pipe[0]);
  ::close(pipe[1]);
}
