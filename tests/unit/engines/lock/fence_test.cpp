#include "lock/fence.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <vector>

#include "../../scratch.hpp"

using namespace deployrun;
using lock::Carrier;
using lock::Fence;

namespace {

/// A process that stands for a connection; killed at the end at the latest.
class Connection {
 public:
  Connection() : pid_(::fork()) {
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  ~Connection() {
    ::kill(pid_, SIGKILL);
    if (!over_) ::waitpid(pid_, nullptr, 0);
  }
  Carrier carrier() const { return lock::look_at_process(pid_); }
  bool is_over() {
    if (!over_) over_ = ::waitpid(pid_, nullptr, WNOHANG) == pid_;
    return over_;
  }
  void stop() const { ::kill(pid_, SIGSTOP); }

 private:
  pid_t pid_;
  bool over_ = false;
};

std::size_t sessions_in(const std::string& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    count += entry.path().filename().string().rfind("session-", 0) == 0 ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("a host ends the connections of lower tokens, stopped ones too, and refuses them from then on") {
  test::Scratch scratch;
  const auto fence = Fence::open(scratch.path("fence")).value();
  Connection old, also_old, next;
  auto first = fence.admit(3, old.carrier());
  auto second = fence.admit(3, also_old.carrier());
  REQUIRE(first);
  REQUIRE(second);
  also_old.stop();
  CHECK_FALSE(old.is_over());

  const auto admitted = fence.admit(4, next.carrier());
  REQUIRE(admitted);
  CHECK(old.is_over());
  CHECK(also_old.is_over());
  CHECK_FALSE(next.is_over());
  CHECK(fence.token().value() == 4);

  Connection again;
  const auto late = fence.admit(3, again.carrier());
  REQUIRE_FALSE(late);
  CHECK(late.error().kind == "lock.stale");
  CHECK_FALSE(again.is_over());
  CHECK(sessions_in(scratch.path("fence")) == 1);
}

TEST_CASE("a session that is over leaves nothing to end") {
  test::Scratch scratch;
  const auto fence = Fence::open(scratch.path("fence")).value();
  Connection kept;
  { REQUIRE(fence.admit(1, kept.carrier())); }
  CHECK(sessions_in(scratch.path("fence")) == 0);
  REQUIRE(fence.admit(2, Connection().carrier()));
  CHECK_FALSE(kept.is_over());
}

TEST_CASE("another process with the number of an old connection is left alone") {
  test::Scratch scratch;
  const auto fence = Fence::open(scratch.path("fence")).value();
  Connection other;
  Carrier before = other.carrier();
  REQUIRE(before.started > 0);
  before.started -= 1;
  const auto session = fence.admit(1, before);
  REQUIRE(session);
  REQUIRE(fence.admit(2, {}));
  CHECK_FALSE(other.is_over());
}

TEST_CASE("a test is no connection of sshd's") {
  CHECK(lock::look_at_process(::getpid()).started > 0);
  CHECK(lock::look_at_process(0).started == 0);
}
