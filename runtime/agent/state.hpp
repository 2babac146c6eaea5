// What the primary host knows of runs: a copy of their journal rows (docs/journal.md), one SQLite file beside the
// deploy lock, so that another machine can go on where one vanished. Rows come as their sender wrote them, chained by
// hash within each run, and are only ever added. Blocks; one call at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/protocol.hpp"
#include "sqlite/database.hpp"

namespace deployrun::agent {

class State {
 public:
  /// Opens, or makes with `create`, state.db in a folder of this user alone; nothing where there is none. Kinds:
  /// `journal.io`, `journal.corrupt`, `journal.newer`.
  static core::Result<std::optional<State>> open(const std::string& folder, bool create);

  /// Stores rows `{number, time, type, body, hash}` of a run, on disk when it returns. Those that are there already are
  /// passed over. `journal.behind` where others are there in their place, or one in between is missing.
  core::Result<core::Unit> append(const std::string& run, const Json& rows);
  /// The newest run, where it has not ended: `{run, rows, hash, recipe, command, state, user, host}`; else null.
  /// `rows`: how many there are, `hash`: the last one's.
  core::Result<Json> unfinished();
  /// `{run, rows: […]}`; false where it is not known.
  core::Result<Json> read(const std::string& run);
  /// The newest runs as `read` gives them, newest first.
  core::Result<Json> runs(std::int64_t limit);
  /// The newest `limit` versions of a service that a host had, as it had them last, newest first: bodies of rows of the
  /// type `release`, each with its `time`.
  core::Result<Json> releases(const std::string& service, const std::string& host, std::int64_t limit);

 private:
  explicit State(sqlite::Database database) : database_(std::move(database)) {}
  core::Result<core::Unit> prepare();
  core::Result<core::Unit> add(const std::string& run, const Json& rows);
  core::Result<core::Unit> raise_format();
  core::Error failed(const char* what, core::Error cause) const;
  sqlite::Database database_;
};

}  // namespace deployrun::agent
