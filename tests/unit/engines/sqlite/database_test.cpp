// Connections: values go in and come out as they are, a transaction nobody committed leaves nothing, errors have kinds.
#include "sqlite/database.hpp"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "../../scratch.hpp"

using deployrun::sqlite::Database;
using deployrun::sqlite::Transaction;
using deployrun::sqlite::Value;
using deployrun::test::Scratch;

namespace {

Database opened(const Scratch& scratch) {
  auto database = Database::open(scratch.path("some.db"));
  REQUIRE(database.ok());
  REQUIRE(database->execute("CREATE TABLE item (name TEXT PRIMARY KEY, size)").ok());
  return std::move(*database);
}

std::int64_t rows(Database& database) {
  auto number = database.scalar("SELECT count(*) FROM item");
  REQUIRE(number.ok());
  return std::get<std::int64_t>(*number);
}

}  // namespace

TEST_CASE("values are bound, whatever they hold") {
  Scratch scratch;
  Database database = opened(scratch);
  const std::string name("'); DROP TABLE item; --\0 and more", 33);
  REQUIRE(database.run("INSERT INTO item VALUES (?1, ?2)", {name, 2.5}).ok());
  REQUIRE(database.run("INSERT INTO item VALUES (?1, ?2)", {std::string("none"), nullptr}).ok());

  auto statement = database.prepare("SELECT name, size FROM item ORDER BY rowid");
  REQUIRE(statement.ok());
  REQUIRE(*statement->step());
  CHECK(statement->text(0) == name);
  CHECK(statement->number(1) == 2.5);
  REQUIRE(*statement->step());
  CHECK(statement->is_null(1));
  CHECK_FALSE(*statement->step());
}

TEST_CASE("a transaction counts only when committed") {
  Scratch scratch;
  Database database = opened(scratch);
  {
    auto transaction = Transaction::begin(database);
    REQUIRE(transaction.ok());
    REQUIRE(database.run("INSERT INTO item VALUES ('a', 1)", {}).ok());
  }
  CHECK(rows(database) == 0);
  auto transaction = Transaction::begin(database);
  REQUIRE(transaction.ok());
  REQUIRE(database.run("INSERT INTO item VALUES ('a', 1)", {}).ok());
  REQUIRE(transaction->commit().ok());
  CHECK(rows(database) == 1);
}

TEST_CASE("the second writer is told that the database is busy") {
  Scratch scratch;
  Database first = opened(scratch);
  auto second = Database::open(scratch.path("some.db"), {.busy_timeout = deployrun::core::Milliseconds(0)});
  REQUIRE(second.ok());
  auto holding = Transaction::begin(first);
  REQUIRE(holding.ok());
  auto refused = Transaction::begin(*second);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().kind == "sqlite.busy");
  CHECK(refused.error().message.find(scratch.path("some.db")) != std::string::npos);
}

TEST_CASE("errors have the kind of what went wrong") {
  Scratch scratch;
  Database database = opened(scratch);
  REQUIRE(database.run("INSERT INTO item VALUES ('a', 1)", {}).ok());
  CHECK(database.run("INSERT INTO item VALUES ('a', 1)", {}).error().kind == "sqlite.constraint");
  CHECK(database.execute("SELEKT 1").error().kind == "sqlite.statement");
  CHECK(Database::open(scratch.path("none.db"), {.create = false}).error().kind == "sqlite.open");

  std::ofstream(scratch.path("text.db")) << std::string(4096, 'x');
  CHECK(Database::open(scratch.path("text.db")).error().kind == "sqlite.corrupt");

  std::filesystem::create_symlink(scratch.path("some.db"), scratch.path("link.db"));
  CHECK(Database::open(scratch.path("link.db")).error().kind == "sqlite.open");

  auto reader = Database::open(scratch.path("some.db"), {.read_only = true});
  REQUIRE(reader.ok());
  CHECK(reader->run("INSERT INTO item VALUES ('b', 1)", {}).error().kind == "sqlite.readonly");
}
