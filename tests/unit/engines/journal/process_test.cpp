// The journal between processes: who owns a run, and what is left when a process is killed at any row. The other
// process is this program again, running the hidden cases below.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <thread>

#include "support.hpp"

using namespace deployrun;
using namespace deployrun::journal;
using test::Project;
using test::wait;

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// This program as another process, with one hidden case and a pipe to its standard output.
class Other {
 public:
  Other(const char* tag, std::vector<std::string> environment) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    std::string self = "/proc/self/exe", which = tag;
    char* arguments[] = {self.data(), which.data(), nullptr};
    std::vector<char*> variables;
    for (auto& each : environment) variables.push_back(each.data());
    variables.push_back(nullptr);
    REQUIRE(::posix_spawn(&pid_, self.c_str(), &actions, nullptr, arguments, variables.data()) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    out_ = ends[0];
  }
  ~Other() {
    if (pid_ > 0) kill();
    ::close(out_);
  }
  /// Waits for the first bytes that it writes.
  std::string hear() const {
    char text[256];
    const ssize_t size = ::read(out_, text, sizeof text);
    return std::string(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    join();
  }
  int join() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int out_ = -1;
};

/// The run that is killed: 12 rows.
constexpr int kRows = 12;

void whole_run(core::Loop& loop, Journal& journal) {
  const std::string run = *wait(loop, journal.begin(test::info()));
  for (std::int64_t step = 1; step <= 2; ++step) {
    (void)wait(loop, journal.append(Step{run, step, "step"}));
    for (const char* host : {"web1", "web2"}) {
      (void)wait(loop, journal.append(test::task(run, host, TaskState::started, step)));
      (void)wait(loop, journal.append(test::task(run, host, TaskState::done, step)));
    }
  }
  (void)wait(loop, journal.finish({.run = run, .state = RunState::done}));
}

}  // namespace

TEST_CASE("another process holds a run", "[.][owner]") {
  core::Loop loop;
  auto journal = wait(loop, open_local(loop, variable("TEST_FOLDER"), {}));
  if (!journal) std::exit(3);
  auto run = wait(loop, (*journal)->begin(test::info()));
  if (!run || ::write(1, run->data(), run->size()) < 0) std::exit(4);
  ::pause();
}

TEST_CASE("another process is killed at a row", "[.][killed]") {
  core::Loop loop;
  const Point point = variable("TEST_POINT") == "before" ? Point::before : Point::after;
  const int row = std::atoi(variable("TEST_ROW").c_str());
  const auto die = [point, row](Point at, int number) {
    if (at == point && number == row) ::kill(::getpid(), SIGKILL);
  };
  auto journal = wait(loop, open_local(loop, variable("TEST_FOLDER"), {.redact = {}, .now = {}, .on_row = die}));
  if (!journal) std::exit(3);
  whole_run(loop, **journal);
  std::exit(5);  // was not killed
}

TEST_CASE("a run belongs to the process that lives") {
  Project project;
  Other other("[owner]", {"TEST_FOLDER=" + project.state()});
  const std::string run = other.hear();
  REQUIRE_FALSE(run.empty());

  core::Loop loop;
  auto journal = test::open(loop, project);
  REQUIRE(journal.ok());
  auto busy = wait(loop, (*journal)->begin(test::info()));
  REQUIRE_FALSE(busy.ok());
  CHECK(busy.error().kind == "journal.busy");
  CHECK(std::get<std::string>(busy.error().details.at("run")) == run);
  CHECK(std::get<std::int64_t>(busy.error().details.at("pid")) == other.pid());
  CHECK(busy.error().message.find("pid " + std::to_string(other.pid())) != std::string::npos);
  CHECK(wait(loop,
             (*journal)->take_over({.run = run, .mode = "abort", .version = {}, .user = {}, .host = {}, .actor = {}}))
            .error()
            .kind == "journal.busy");
  auto seen = wait(loop, (*journal)->unfinished());
  REQUIRE(seen->has_value());
  CHECK((*seen)->owner.alive);
  CHECK((*seen)->owner.pid == other.pid());

  other.kill();
  auto left = wait(loop, (*journal)->unfinished());
  REQUIRE(left->has_value());
  CHECK((*left)->id == run);
  CHECK_FALSE((*left)->owner.alive);
  CHECK(wait(loop, (*journal)->begin(test::info())).error().kind == "journal.unfinished");
  CHECK(wait(loop,
             (*journal)->take_over({.run = run, .mode = "abort", .version = {}, .user = {}, .host = {}, .actor = {}}))
            .ok());
}

TEST_CASE("killed before or after any row, exactly the rows before it are there") {
  for (const char* point : {"before", "after"}) {
    for (int row = 1; row <= kRows; ++row) {
      CAPTURE(point, row);
      Project project;
      Other other("[killed]", {"TEST_FOLDER=" + project.state(), std::string("TEST_POINT=") + point,
                               "TEST_ROW=" + std::to_string(row)});
      const int status = other.join();
      REQUIRE(WIFSIGNALED(status));

      core::Loop loop;
      auto journal = test::open(loop, project);
      REQUIRE(journal.ok());
      const int expected = std::string(point) == "before" ? row - 1 : row;
      auto rows = wait(loop, (*journal)->verify());
      REQUIRE(rows.ok());
      CHECK(*rows == expected);
      auto left = wait(loop, (*journal)->unfinished());
      REQUIRE(left.ok());
      CHECK(left->has_value() == (expected > 0 && expected < kRows));
      if (!left->has_value()) continue;
      auto taken =
          wait(loop, (*journal)->take_over(
                         {.run = (*left)->id, .mode = "resume", .version = {}, .user = {}, .host = {}, .actor = {}}));
      CHECK(taken.ok());
    }
  }
}

TEST_CASE("a child process does not keep its parent's run alive") {
  Project project;
  core::Loop loop;
  pid_t child = 0;
  {
    auto journal = test::open(loop, project);
    REQUIRE(wait(loop, (*journal)->begin(test::info())).ok());
    std::string sleep = "sleep", forever = "600";
    char* arguments[] = {sleep.data(), forever.data(), nullptr};
    // The spawn returns a moment before the kernel closes the child's descriptors, lowest first: the end of this pipe
    // tells that all are closed.
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const int last = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 500);
    REQUIRE(last >= 500);
    ::close(ends[1]);
    REQUIRE(::posix_spawnp(&child, "sleep", nullptr, nullptr, arguments, environ) == 0);
    ::close(last);
    char byte = 0;
    CHECK(::read(ends[0], &byte, 1) == 0);
    ::close(ends[0]);
  }
  auto journal = test::open(loop, project);
  auto left = wait(loop, (*journal)->unfinished());
  CHECK(left->has_value());
  CHECK_FALSE((*left)->owner.alive);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}
