// A connection to a database that belongs to somebody else, for recipes: what blocks runs on the pool, locks are waited
// for on the loop. What must stay true: nothing here opens the database's file but SQLite (closing any other descriptor
// of it would drop SQLite's locks), and its WAL is never checkpointed.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/operation.hpp"
#include "sqlite/backup.hpp"
#include "sqlite/database.hpp"
#include "sqlite/holders.hpp"
#include "sqlite/serial.hpp"

namespace deployrun::sqlite {

struct Rows {
  std::vector<std::string> columns;
  std::vector<std::vector<Value>> rows;
  std::int64_t changes = 0;  ///< rows that the statement inserted, changed or removed
};

/// By position, or by name without its mark.
using Values = std::variant<std::vector<Value>, std::vector<std::pair<std::string, Value>>>;

struct ConnectionOptions {
  bool create = false;
  bool read_only = false;
  core::Milliseconds patience{10'000};  ///< for a lock that somebody else holds
};

template <class T>
using Op = std::unique_ptr<core::Operation<T>>;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  static constexpr std::size_t kMostRows = 100'000;
  static constexpr std::size_t kMostBytes = 64U << 20U;

  /// Completes with a connection; kinds of check_place and of Database::open.
  static Op<std::shared_ptr<Connection>> open(core::Loop& loop, std::string path, ConnectionOptions options);

  /// One statement that reads; `usage` for one that would change something, and where the values do not fit.
  /// `sqlite.too_large` beyond kMostRows or kMostBytes, `sqlite.busy` once the patience has passed.
  Op<Rows> query(std::string sql, Values values);
  /// One statement that may change something; with rows where it gives some (RETURNING).
  Op<Rows> run(std::string sql, Values values);
  /// Several statements without values. Tried again from the start while busy: begin a transaction first.
  Op<core::Unit> execute(std::string sql);

  enum class Mode { immediate, exclusive };
  /// Takes the write lock at once; with `exclusive` readers of a rollback journal are kept out too.
  Op<core::Unit> begin(Mode mode, core::Milliseconds patience);
  Op<core::Unit> commit();
  /// Does nothing where there is no transaction any more.
  Op<core::Unit> rollback();

  const std::string& path() const noexcept { return path_; }

 private:
  Connection(core::Loop& loop, std::string path, core::Milliseconds patience, Database database);
  template <class T>
  Op<T> patiently(core::Milliseconds patience, std::function<core::Result<T>(Database&)> work);

  core::Loop& loop_;
  std::string path_;
  core::Milliseconds patience_;
  std::shared_ptr<Serial> serial_;
  std::shared_ptr<Database> database_;
};

/// The calls of backup.hpp and holders.hpp as operations; places are checked, locks are waited for.
Op<Copied> take_snapshot(core::Loop& loop, std::string from, std::string to, bool check, core::Milliseconds patience);
Op<Copied> restore_snapshot(core::Loop& loop, std::string from, std::string to, core::Milliseconds patience);
Op<std::vector<std::string>> check_database(core::Loop& loop, std::string path, core::Milliseconds patience);
Op<std::vector<Holder>> list_holders(core::Loop& loop, std::string path);

}  // namespace deployrun::sqlite
