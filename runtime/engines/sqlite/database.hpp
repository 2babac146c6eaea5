// Connections, statements and transactions of SQLite. Everything here blocks: it runs on the pool, and one connection
// is used by one job at a time (serial.hpp sees to that). What must stay true: values are bound, never written into SQL
// text; a transaction that nobody committed is rolled back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/result.hpp"
#include "core/time.hpp"
#include "sqlite/handles.hpp"

namespace deployrun::sqlite {

/// What can be bound and what a column holds. Text is UTF-8 and may contain NUL.
using Value = std::variant<std::nullptr_t, std::int64_t, double, std::string>;

struct OpenOptions {
  bool create = true;                       ///< make the file where it is missing
  bool read_only = false;                   ///< implies not creating
  core::Milliseconds busy_timeout{10'000};  ///< how long a statement waits for another connection's lock
  /// Somebody else's database, maybe in use: its WAL is neither checkpointed nor removed (SQLite before 3.51.3, which
  /// its owner may use, can corrupt the WAL when two do that: sqlite.org/wal.html#walresetbug).
  bool foreign = false;
};

class Database;

/// One prepared statement. Used again after `reset`; dies before its Database.
class Statement {
 public:
  /// Binds `values` to ?1, ?2 … and starts over.
  core::Result<core::Unit> bind(const std::vector<Value>& values);
  /// Binds to :name, @name or $name and starts over; `usage` for a name that the statement does not have.
  core::Result<core::Unit> bind_named(const std::vector<std::pair<std::string, Value>>& values);
  /// Whether it leaves the database as it is.
  bool reads() const;
  /// How many values it takes.
  int parameters() const;
  /// True while there is a row to read.
  core::Result<bool> step();

  /// Columns of the current row, from 0. NULL reads as 0 or "".
  std::int64_t integer(int column) const;
  double number(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;
  /// A blob reads as its bytes.
  Value value(int column) const;
  int columns() const;
  std::string column_name(int column) const;

 private:
  friend class Database;
  Statement(sqlite3* database, StatementHandle handle, std::string path)
      : database_(database), handle_(std::move(handle)), path_(std::move(path)) {}

  sqlite3* database_;
  StatementHandle handle_;
  std::string path_;
};

/// One connection. Movable; not shared between threads that run at the same time.
class Database {
 public:
  /// Symbolic links are refused. Kinds: `sqlite.open`, `sqlite.corrupt`, `sqlite.busy`, `sqlite.io`.
  static core::Result<Database> open(const std::string& path, const OpenOptions& options = {});

  /// Runs one or more statements without values.
  core::Result<core::Unit> execute(const std::string& sql);
  core::Result<Statement> prepare(std::string_view sql);
  /// One statement with values, rows ignored.
  core::Result<core::Unit> run(std::string_view sql, const std::vector<Value>& values);
  /// The first column of the first row; NULL where there is no row.
  core::Result<Value> scalar(std::string_view sql, const std::vector<Value>& values = {});

  const std::string& path() const noexcept { return path_; }
  /// For this room's own files.
  sqlite3* raw() const noexcept { return handle_.get(); }

 private:
  friend class Transaction;
  Database(DatabaseHandle handle, std::string path) : handle_(std::move(handle)), path_(std::move(path)) {}

  DatabaseHandle handle_;
  std::string path_;
};

/// BEGIN IMMEDIATE: the write lock is taken at once, so that a writer never fails half-way for want of it.
class Transaction {
 public:
  static core::Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  /// Rolls back unless committed.
  ~Transaction();

  core::Result<core::Unit> commit();

 private:
  explicit Transaction(sqlite3* database) : database_(database) {}
  sqlite3* database_;
};

}  // namespace deployrun::sqlite
