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
using test::Project;
using test::wait;

namespace {

/// A finished run in a journal that nobody has open any more.
void write_some(const Project& project) {
  core::Loop loop;
  auto journal = open(loop, project);
  REQUIRE(journal.ok());
  const std::string run = *wait(loop, (*journal)->begin(test::info()));
  for (int i = 1; i <= 5; ++i) REQUIRE(wait(loop, (*journal)->append(Step{run, i, "step " + std::to_string(i)})).ok());
  REQUIRE(wait(loop, (*journal)->finish({.run = run, .state = RunState::done})).ok());
}

void tamper(const Project& project, const std::string& sql) {
  auto database = sqlite::Database::open(project.database());
  REQUIRE(database.ok());
  REQUIRE(database->execute("DROP TRIGGER journal_never_changes; DROP TRIGGER journal_never_shrinks; " + sql).ok());
}

std::string verified(const Project& project) {
  core::Loop loop;
  auto journal = open(loop, project);
  REQUIRE(journal.ok());
  auto rows = wait(loop, (*journal)->verify());
  return rows ? "ok" : rows.error().kind;
}

std::string refusal(const Project& project) {
  core::Loop loop;
  auto journal = open(loop, project);
  return journal ? "none" : journal.error().kind;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

}  // namespace

TEST_CASE("an untouched journal verifies") {
  Project project;
  write_some(project);
  CHECK(verified(project) == "ok");
}

TEST_CASE("whatever was done to a row shows") {
  Project project;
  write_some(project);
  SECTION("an edit") {
    tamper(project, "UPDATE journal SET body = replace(body, 'step 3', 'step X') WHERE number = 4");
  }
  SECTION("another time") { tamper(project, "UPDATE journal SET time = time + 1 WHERE number = 2"); }
  SECTION("a row taken out") { tamper(project, "DELETE FROM journal WHERE number = 3"); }
  SECTION("the end cut off") { tamper(project, "DELETE FROM journal WHERE number = 7"); }
  SECTION("a row added") {
    tamper(project, "INSERT INTO journal SELECT 8, time, run, type, body, hash, hash FROM journal WHERE number = 7");
  }
  SECTION("two rows exchanged") {
    tamper(project,
           "UPDATE journal SET number = 100 WHERE number = 3; UPDATE journal SET number = 3 WHERE number = 4; "
           "UPDATE journal SET number = 4 WHERE number = 100");
  }
  CHECK(verified(project) == "journal.tampered");
}

TEST_CASE("an edited row is found when its run is read, and nothing is written behind a cut") {
  Project project;
  write_some(project);
  core::Loop loop;
  SECTION("read") {
    tamper(project, "UPDATE journal SET body = replace(body, 'step 3', 'step X') WHERE number = 4");
    auto journal = open(loop, project);
    auto history = wait(loop, (*journal)->history(10));
    REQUIRE_FALSE(history.ok());
    CHECK(history.error().kind == "journal.tampered");
    CHECK(std::get<std::int64_t>(history.error().details.at("row")) == 4);
  }
  SECTION("write") {
    tamper(project, "UPDATE head SET number = 6");
    auto journal = open(loop, project);
    CHECK(wait(loop, (*journal)->begin(test::info())).error().kind == "journal.tampered");
  }
}

TEST_CASE("rows cannot be changed by accident") {
  Project project;
  write_some(project);
  auto database = sqlite::Database::open(project.database());
  CHECK_FALSE(database->execute("UPDATE journal SET body = '{}'").ok());
  CHECK_FALSE(database->execute("DELETE FROM journal").ok());
}

TEST_CASE("a newer format is refused with words") {
  Project project;
  write_some(project);
  REQUIRE(sqlite::Database::open(project.database())->execute("PRAGMA user_version = 7").ok());
  core::Loop loop;
  auto journal = open(loop, project);
  REQUIRE_FALSE(journal.ok());
  CHECK(journal.error().kind == "journal.newer");
  CHECK(std::get<std::int64_t>(journal.error().details.at("format")) == 7);
  CHECK(journal.error().message.find("newer deployrun") != std::string::npos);
}

TEST_CASE("what is no journal is left alone") {
  Project project;
  write_some(project);
  SECTION("text") { std::ofstream(project.database(), std::ios::trunc) << std::string(8192, 'x'); }
  SECTION("another database") {
    REQUIRE(sqlite::Database::open(project.database())->execute("PRAGMA application_id = 7").ok());
  }
  CHECK(refusal(project) == "journal.corrupt");
}

TEST_CASE("the folder and its files are the owner's alone, whatever the umask") {
  Project project;
  const mode_t before = ::umask(0);
  write_some(project);
  ::umask(before);
  CHECK(mode_of(project.state()) == 0700);
  CHECK(mode_of(project.database()) == 0600);
  CHECK(mode_of(project.database() + "-journal") == 0600);
  CHECK(mode_of(project.state() + "/journal.lock") == 0600);

  // Readable by others is put right; writable by others means that they may have written.
  REQUIRE(::chmod(project.state().c_str(), 0755) == 0);
  REQUIRE(::chmod(project.database().c_str(), 0644) == 0);
  CHECK(refusal(project) == "none");
  CHECK(mode_of(project.state()) == 0700);
  CHECK(mode_of(project.database()) == 0600);
}

TEST_CASE("what others could have planted is refused") {
  Project project;
  write_some(project);
  const auto move_away = [](const std::string& path) { std::filesystem::rename(path, path + ".real"); };
  SECTION("a folder that others may write") { REQUIRE(::chmod(project.state().c_str(), 0770) == 0); }
  SECTION("a database that others may write") { REQUIRE(::chmod(project.database().c_str(), 0622) == 0); }
  SECTION("a project folder that everybody may write") { REQUIRE(::chmod(project.path("").c_str(), 0777) == 0); }
  SECTION("a link instead of the folder") {
    move_away(project.state());
    std::filesystem::create_symlink(project.state() + ".real", project.state());
  }
  SECTION("a link instead of the database") {
    move_away(project.database());
    std::filesystem::create_symlink(project.database() + ".real", project.database());
  }
  SECTION("a link instead of the lock") {
    move_away(project.state() + "/journal.lock");
    std::filesystem::create_symlink("/dev/null", project.state() + "/journal.lock");
  }
  SECTION("a link instead of the rollback journal") {
    std::filesystem::remove(project.database() + "-journal");
    std::filesystem::create_symlink(project.path("elsewhere"), project.database() + "-journal");
  }
  SECTION("a second name for the database") {
    std::filesystem::create_hard_link(project.database(), project.path("other.db"));
  }
  SECTION("a folder instead of the database") {
    move_away(project.database());
    std::filesystem::create_directory(project.database());
  }
  CHECK(refusal(project) == "journal.unsafe");
}

TEST_CASE("somebody else's folder is refused") {
  if (::geteuid() != 0) SKIP("only root can give a file to somebody else");
  Project project;
  write_some(project);
  SECTION("the folder") { REQUIRE(::chown(project.state().c_str(), 12345, 12345) == 0); }
  SECTION("the database") { REQUIRE(::chown(project.database().c_str(), 12345, 12345) == 0); }
  CHECK(refusal(project) == "journal.unsafe");
}

TEST_CASE("looking does not make a journal") {
  Project project;
  core::Loop loop;
  auto journal = open(loop, project, {.redact = {}, .now = {}, .on_row = {}, .create = false});
  REQUIRE_FALSE(journal.ok());
  CHECK(journal.error().kind == "journal.missing");
  CHECK_FALSE(std::filesystem::exists(project.state()));
}
