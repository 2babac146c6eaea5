// What the journal refuses: files that others could have touched, formats it does not know, rows that were edited.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "sqlite/database.hpp"
#include "support.hpp"

using namespace deployrun;
using namespace deployrun::journal;
using test::open;
using test::Scratch;
using test::wait;

namespace {

/// A finished run in a journal that nobody has open any more.
void write_some(const Scratch& scratch) {
  core::Loop loop;
  auto journal = open(loop, scratch);
  REQUIRE(journal.ok());
  const std::string run = *wait(loop, (*journal)->begin(test::info()));
  for (int i = 1; i <= 5; ++i) REQUIRE(wait(loop, (*journal)->append(Step{run, i, "step " + std::to_string(i)})).ok());
  REQUIRE(wait(loop, (*journal)->finish({.run = run, .state = RunState::done})).ok());
}

void tamper(const Scratch& scratch, const std::string& sql) {
  auto database = sqlite::Database::open(scratch.database());
  REQUIRE(database.ok());
  REQUIRE(database->execute("DROP TRIGGER journal_never_changes; DROP TRIGGER journal_never_shrinks; " + sql).ok());
}

std::string verified(const Scratch& scratch) {
  core::Loop loop;
  auto journal = open(loop, scratch);
  REQUIRE(journal.ok());
  auto rows = wait(loop, (*journal)->verify());
  return rows ? "ok" : rows.error().kind;
}

std::string refusal(const Scratch& scratch) {
  core::Loop loop;
  auto journal = open(loop, scratch);
  return journal ? "none" : journal.error().kind;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

}  // namespace

TEST_CASE("an untouched journal verifies") {
  Scratch scratch;
  write_some(scratch);
  CHECK(verified(scratch) == "ok");
}

TEST_CASE("whatever was done to a row shows") {
  Scratch scratch;
  write_some(scratch);
  SECTION("an edit") {
    tamper(scratch, "UPDATE journal SET body = replace(body, 'step 3', 'step X') WHERE number = 4");
  }
  SECTION("another time") { tamper(scratch, "UPDATE journal SET time = time + 1 WHERE number = 2"); }
  SECTION("a row taken out") { tamper(scratch, "DELETE FROM journal WHERE number = 3"); }
  SECTION("the end cut off") { tamper(scratch, "DELETE FROM journal WHERE number = 7"); }
  SECTION("a row added") {
    tamper(scratch, "INSERT INTO journal SELECT 8, time, run, type, body, hash, hash FROM journal WHERE number = 7");
  }
  SECTION("two rows exchanged") {
    tamper(scratch,
           "UPDATE journal SET number = 100 WHERE number = 3; UPDATE journal SET number = 3 WHERE number = 4; "
           "UPDATE journal SET number = 4 WHERE number = 100");
  }
  CHECK(verified(scratch) == "journal.tampered");
}

TEST_CASE("an edited row is found when its run is read, and nothing is written behind a cut") {
  Scratch scratch;
  write_some(scratch);
  core::Loop loop;
  SECTION("read") {
    tamper(scratch, "UPDATE journal SET body = replace(body, 'step 3', 'step X') WHERE number = 4");
    auto journal = open(loop, scratch);
    auto history = wait(loop, (*journal)->history(10));
    REQUIRE_FALSE(history.ok());
    CHECK(history.error().kind == "journal.tampered");
    CHECK(std::get<std::int64_t>(history.error().details.at("row")) == 4);
  }
  SECTION("write") {
    tamper(scratch, "UPDATE head SET number = 6");
    auto journal = open(loop, scratch);
    CHECK(wait(loop, (*journal)->begin(test::info())).error().kind == "journal.tampered");
  }
}

TEST_CASE("rows cannot be changed by accident") {
  Scratch scratch;
  write_some(scratch);
  auto database = sqlite::Database::open(scratch.database());
  CHECK_FALSE(database->execute("UPDATE journal SET body = '{}'").ok());
  CHECK_FALSE(database->execute("DELETE FROM journal").ok());
}

TEST_CASE("a newer format is refused with words") {
  Scratch scratch;
  write_some(scratch);
  REQUIRE(sqlite::Database::open(scratch.database())->execute("PRAGMA user_version = 7").ok());
  core::Loop loop;
  auto journal = open(loop, scratch);
  REQUIRE_FALSE(journal.ok());
  CHECK(journal.error().kind == "journal.newer");
  CHECK(std::get<std::int64_t>(journal.error().details.at("format")) == 7);
  CHECK(journal.error().message.find("newer deployrun") != std::string::npos);
}

TEST_CASE("what is no journal is left alone") {
  Scratch scratch;
  write_some(scratch);
  SECTION("text") { std::ofstream(scratch.database(), std::ios::trunc) << std::string(8192, 'x'); }
  SECTION("another database") {
    REQUIRE(sqlite::Database::open(scratch.database())->execute("PRAGMA application_id = 7").ok());
  }
  CHECK(refusal(scratch) == "journal.corrupt");
}

TEST_CASE("the folder and its files are the owner's alone, whatever the umask") {
  Scratch scratch;
  const mode_t before = ::umask(0);
  write_some(scratch);
  ::umask(before);
  CHECK(mode_of(scratch.state()) == 0700);
  CHECK(mode_of(scratch.database()) == 0600);
  CHECK(mode_of(scratch.database() + "-journal") == 0600);
  CHECK(mode_of(scratch.state() + "/journal.lock") == 0600);

  // Readable by others is put right; writable by others means that they may have written.
  REQUIRE(::chmod(scratch.state().c_str(), 0755) == 0);
  REQUIRE(::chmod(scratch.database().c_str(), 0644) == 0);
  CHECK(refusal(scratch) == "none");
  CHECK(mode_of(scratch.state()) == 0700);
  CHECK(mode_of(scratch.database()) == 0600);
}

TEST_CASE("what others could have planted is refused") {
  Scratch scratch;
  write_some(scratch);
  const auto move_away = [](const std::string& path) { std::filesystem::rename(path, path + ".real"); };
  SECTION("a folder that others may write") { REQUIRE(::chmod(scratch.state().c_str(), 0770) == 0); }
  SECTION("a database that others may write") { REQUIRE(::chmod(scratch.database().c_str(), 0622) == 0); }
  SECTION("a project folder that everybody may write") { REQUIRE(::chmod(scratch.path("").c_str(), 0777) == 0); }
  SECTION("a link instead of the folder") {
    move_away(scratch.state());
    std::filesystem::create_symlink(scratch.state() + ".real", scratch.state());
  }
  SECTION("a link instead of the database") {
    move_away(scratch.database());
    std::filesystem::create_symlink(scratch.database() + ".real", scratch.database());
  }
  SECTION("a link instead of the lock") {
    move_away(scratch.state() + "/journal.lock");
    std::filesystem::create_symlink("/dev/null", scratch.state() + "/journal.lock");
  }
  SECTION("a link instead of the rollback journal") {
    std::filesystem::remove(scratch.database() + "-journal");
    std::filesystem::create_symlink(scratch.path("elsewhere"), scratch.database() + "-journal");
  }
  SECTION("a second name for the database") {
    std::filesystem::create_hard_link(scratch.database(), scratch.path("other.db"));
  }
  SECTION("a folder instead of the database") {
    move_away(scratch.database());
    std::filesystem::create_directory(scratch.database());
  }
  CHECK(refusal(scratch) == "journal.unsafe");
}

TEST_CASE("somebody else's folder is refused") {
  if (::geteuid() != 0) SKIP("only root can give a file to somebody else");
  Scratch scratch;
  write_some(scratch);
  SECTION("the folder") { REQUIRE(::chown(scratch.state().c_str(), 12345, 12345) == 0); }
  SECTION("the database") { REQUIRE(::chown(scratch.database().c_str(), 12345, 12345) == 0); }
  CHECK(refusal(scratch) == "journal.unsafe");
}

TEST_CASE("looking does not make a journal") {
  Scratch scratch;
  core::Loop loop;
  auto journal = open(loop, scratch, {.redact = {}, .now = {}, .on_row = {}, .create = false});
  REQUIRE_FALSE(journal.ok());
  CHECK(journal.error().kind == "journal.missing");
  CHECK_FALSE(std::filesystem::exists(scratch.state()));
}
