#include "sqlite/connection.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>

#include "../../scratch.hpp"
#include "sqlite/mutex.hpp"

using namespace deployrun;
using test::Scratch;

namespace {

template <class T>
core::Result<T> wait(core::Loop& loop, sqlite::Op<T> operation) {
  std::optional<core::Result<T>> outcome;
  operation->start([&](core::Result<T> result) { outcome.emplace(std::move(result)); });
  loop.run();
  REQUIRE(outcome);
  return std::move(*outcome);
}

std::string text(const core::Error& error, const char* key) { return std::get<std::string>(error.details.at(key)); }
std::int64_t number(const core::Error& error, const char* key) { return std::get<std::int64_t>(error.details.at(key)); }

/// Another process; `work` runs in it, then it does `then` again and again until it is ended.
class Other {
 public:
  explicit Other(
      const std::function<void()>& work, const std::function<void()>& then = [] { ::pause(); }) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      work();
      [[maybe_unused]] const ssize_t told = ::write(ends[1], "x", 1);
      for (;;) then();
    }
    ::close(ends[1]);
    char byte = 0;
    const ssize_t ready = ::read(ends[0], &byte, 1);
    ::close(ends[0]);
    CHECK(ready == 1);
  }
  ~Other() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

std::string made(const Scratch& scratch, const char* mode) {
  const std::string path = scratch.path("app.sqlite3");
  auto database = sqlite::Database::open(path);
  REQUIRE(database.ok());
  REQUIRE(database->execute(std::string("PRAGMA journal_mode = ") + mode).ok());
  REQUIRE(
      database->execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body); INSERT INTO note(body) VALUES ('a')").ok());
  return path;
}

/// For the other process: takes the write lock and never lets go.
std::function<void()> holding(const std::string& path) {
  return [path] {
    static auto database = sqlite::Database::open(path);
    if (!database || !database->execute("BEGIN IMMEDIATE; INSERT INTO note(body) VALUES ('half')")) ::_exit(1);
  };
}

}  // namespace

TEST_CASE("a busy database names who holds it, and for how long it was waited") {
  for (const char* mode : {"delete", "wal"}) {
    CAPTURE(mode);
    Scratch scratch;
    const std::string path = made(scratch, mode);
    Other other(holding(path));

    const auto holders = sqlite::find_holders(path);
    REQUIRE(holders.size() == 1);
    CHECK(holders[0].pid == other.pid());
    CHECK(holders[0].writes);
    CHECK(holders[0].command.find("unit_sqlite") != std::string::npos);

    core::Loop loop;
    auto connection = wait(loop, sqlite::Connection::open(loop, path, {}));
    REQUIRE(connection.ok());
    const auto begun = wait(loop, (*connection)->begin(sqlite::Connection::Mode::immediate, core::Milliseconds(30)));
    REQUIRE_FALSE(begun.ok());
    CHECK(begun.error().kind == "sqlite.busy");
    CHECK(begun.error().message.find("process " + std::to_string(other.pid())) != std::string::npos);
    CHECK(number(begun.error(), "holder_pid") == other.pid());
    CHECK(number(begun.error(), "waited_ms") >= 30);
    CHECK(text(begun.error(), "holder_container").empty());
  }
}

TEST_CASE("a holder that dies frees its lock and leaves nothing of what it had half done") {
  for (const char* mode : {"delete", "wal"}) {
    CAPTURE(mode);
    Scratch scratch;
    const std::string path = made(scratch, mode);
    Other other(holding(path));
    core::Loop loop;
    auto connection = wait(loop, sqlite::Connection::open(loop, path, {}));
    REQUIRE(connection.ok());
    auto begin = (*connection)->begin(sqlite::Connection::Mode::immediate, core::Milliseconds(10'000));
    std::optional<core::Result<core::Unit>> begun;
    begin->start([&](core::Result<core::Unit> result) { begun.emplace(std::move(result)); });
    core::Timer later(loop);
    later.start(core::Milliseconds(30), [&] { other.kill(); });
    loop.run();
    REQUIRE(begun);
    CHECK(begun->ok());
    const auto rows = wait(loop, (*connection)->query("SELECT body FROM note", {}));
    REQUIRE(rows.ok());
    CHECK(rows->rows.size() == 1);
    CHECK(wait(loop, (*connection)->rollback()).ok());
    CHECK(wait(loop, (*connection)->rollback()).ok());
  }
}

TEST_CASE("waiting for a lock is cancelled at once") {
  Scratch scratch;
  const std::string path = made(scratch, "delete");
  Other other(holding(path));
  core::Loop loop;
  auto connection = wait(loop, sqlite::Connection::open(loop, path, {}));
  REQUIRE(connection.ok());
  auto begin = (*connection)->begin(sqlite::Connection::Mode::immediate, core::Milliseconds(600'000));
  std::string kind;
  begin->start([&](core::Result<core::Unit> result) { kind = result ? "ok" : result.error().kind; });
  core::Timer later(loop);
  later.start(core::Milliseconds(20), [&] { begin->cancel(); });
  loop.run();
  CHECK(kind == "cancelled");
}

TEST_CASE("a snapshot of a WAL is one moment, although a writer goes on, and its WAL stays the writer's") {
  Scratch scratch;
  const std::string path = made(scratch, "wal");
  static std::optional<sqlite::Database> own;
  Other other(
      [path] {
        auto opened = sqlite::Database::open(path);
        if (!opened || !opened->execute("PRAGMA wal_autocheckpoint = 0")) ::_exit(1);
        own.emplace(std::move(*opened));
      },
      // Both rows of a pair, or none: a snapshot with one of them is torn.
      [] {
        if (!own->execute("INSERT INTO note(body) VALUES (randomblob(3000)), (randomblob(3000))")) ::_exit(1);
      });
  core::Loop loop;
  for (int copy = 0; copy < 10; ++copy) {
    const std::string to = scratch.path("copy" + std::to_string(copy));
    const auto taken = wait(loop, sqlite::take_snapshot(loop, path, to, true, core::Milliseconds(10'000)));
    REQUIRE(taken.ok());
    CHECK(taken->pages > 1);
    auto database = sqlite::Database::open(to, {.read_only = true});
    REQUIRE(database.ok());
    const auto count = database->scalar("SELECT count(*) FROM note");
    CHECK(std::get<std::int64_t>(*count) % 2 == 1);  // the first one and pairs
  }
  for (const auto& entry : std::filesystem::directory_iterator(scratch.folder())) {
    INFO(entry.path());  // what the check of a copy leaves beside it
    CHECK(entry.path().string().find(".partial-") == std::string::npos);
  }
  CHECK(::access((path + "-wal").c_str(), F_OK) == 0);
}

TEST_CASE("a cancelled snapshot leaves no file") {
  Scratch scratch;
  const std::string path = made(scratch, "delete");
  const std::string to = scratch.path("copy");
  sqlite::Stop stop = true;
  const auto taken = sqlite::snapshot(path, to, false, stop);
  REQUIRE_FALSE(taken.ok());
  CHECK(taken.error().kind == "cancelled");
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch.folder())) ++files;
  CHECK(files == 1);
}

TEST_CASE("a mutex is freed by its holder's death, and says who has it until then") {
  Scratch scratch;
  const std::string path = scratch.path("locks/deploy.lock");
  Other other([path] {
    core::Loop own;
    static auto lock = wait(own, sqlite::acquire_mutex(own, path, "ada since noon", core::Milliseconds(0)));
    if (!lock) ::_exit(1);
  });
  core::Loop loop;
  const auto busy = wait(loop, sqlite::acquire_mutex(loop, path, "bob", core::Milliseconds(10)));
  REQUIRE_FALSE(busy.ok());
  CHECK(busy.error().kind == "sqlite.busy");
  CHECK(busy.error().message.find("process " + std::to_string(other.pid()) + ", ada since noon") != std::string::npos);
  other.kill();
  auto taken = wait(loop, sqlite::acquire_mutex(loop, path, "bob", core::Milliseconds(5000)));
  REQUIRE(taken.ok());
  CHECK_FALSE(wait(loop, sqlite::acquire_mutex(loop, path, "eve", core::Milliseconds(0))).ok());
  taken->reset();
  CHECK(wait(loop, sqlite::acquire_mutex(loop, path, "eve", core::Milliseconds(0))).ok());
}
