#include "sqlite/files.hpp"

#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "../../scratch.hpp"
#include "sqlite/database.hpp"

namespace fs = std::filesystem;
using namespace deployrun;

TEST_CASE("a database goes with what lies beside it, and nothing else does") {
  test::Scratch scratch;
  const std::string path = scratch.path("copy.sqlite3");
  {
    auto database = sqlite::Database::open(path, {.create = true});
    REQUIRE(database);
    REQUIRE(database->execute("PRAGMA journal_mode = WAL; CREATE TABLE t (n)"));
  }
  std::ofstream(path + "-wal") << "left behind";
  std::ofstream(scratch.path("copy.sqlite3.other")) << "stays";
  CHECK(sqlite::remove_database(path).value() == true);
  CHECK_FALSE(fs::exists(path));
  CHECK_FALSE(fs::exists(path + "-wal"));
  CHECK(fs::exists(scratch.path("copy.sqlite3.other")));
  CHECK(sqlite::remove_database(path).value() == false);

  // What is no database stays.
  auto refused = sqlite::remove_database(scratch.path("copy.sqlite3.other"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is("sqlite.open"));
  CHECK(fs::exists(scratch.path("copy.sqlite3.other")));
}

TEST_CASE("a database is set aside with what lies beside it, whatever it holds, and comes back") {
  test::Scratch scratch;
  const std::string path = scratch.path("app.sqlite3");
  const std::string aside = scratch.path("app.sqlite3.before-damaged");
  std::ofstream(path) << "no database any more";
  std::ofstream(path + "-wal") << "beside it";
  CHECK(sqlite::move_database(path, aside).value() == true);
  CHECK_FALSE(fs::exists(path));
  CHECK_FALSE(fs::exists(path + "-wal"));
  CHECK(fs::exists(aside + "-wal"));
  CHECK(sqlite::move_database(path, aside).value() == false);

  // Cut off in the middle, the way back brings all of it.
  fs::rename(aside, path);
  CHECK(sqlite::move_database(aside, path).value() == true);
  CHECK(fs::exists(path));
  CHECK(fs::exists(path + "-wal"));

  std::ofstream(aside) << "somebody's";
  auto refused = sqlite::move_database(path, aside);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is("sqlite.exists"));
  CHECK(fs::exists(path));
}

TEST_CASE("room is taken on the disk, or nothing is left behind") {
  test::Scratch scratch;
  const std::string path = scratch.path("app.sqlite3.reserve");
  REQUIRE(sqlite::reserve(path, 200'000));
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  CHECK(found.st_size == 200'000);
  CHECK(found.st_blocks * 512 >= 200'000);
  CHECK(sqlite::remove_database(path).value() == true);

  auto refused = sqlite::reserve(path, std::int64_t{1} << 60);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is("sqlite.full"));
  CHECK_FALSE(fs::exists(path));
}
