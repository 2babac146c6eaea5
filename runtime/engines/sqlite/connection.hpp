// A connection to a database that belongs to somebody else, for recipes: what blocks runs on the pool, locks are waited
// for on the loop. What must stay true: nothing here opens the database's file but SQLite (closing any other descriptor
// of it would drop SQLite's locks), and its WAL is never checkpointed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "sqlite/backup.hpp"
#include "sqlite/holders.hpp"
#include "sqlite/place.hpp"
#include "sqlite/rows.hpp"
#include "sqlite/serial.hpp"

namespace deployrun::sqlite {

struct ConnectionOptions {
  bool create = false;
  bool read_only = false;
  core::Milliseconds patience{10'000};  ///< for a lock that somebody else holds
};

template <class T>
using Op = std::unique_ptr<core::Operation<T>>;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// Completes with a connection; kinds of check_place and of Database::open.
  static Op<std::shared_ptr<Connection>> open(core::Loop& loop, std::string path, ConnectionOptions options);

  /// One statement that reads; kinds of run_statement, and `sqlite.busy` once the patience has passed.
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

  /// once.hpp's.
  Op<bool> was_done(std::string key);
  Op<core::Unit> mark_done(std::string key);

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
Op<Space> look_at_space(core::Loop& loop, std::string path);

}  // namespace deployrun::sqlite
