// Copies of a database that is in use, and their way back, by SQLite's online backup interface
// (sqlite.org/backup.html): a file copy of a live database is no backup. Everything here blocks: it runs on the pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace deployrun::sqlite {

/// Set from another thread: the work stops at its next step with `cancelled`.
using Stop = std::atomic<bool>;

struct Copied {
  std::int64_t bytes = 0;
  std::int64_t pages = 0;
};

/// Writes the database at `from` to `to`, mode 0600: a file that appears whole and synced, or not at all. The copy is
/// the state of one moment; writers of a WAL go on meanwhile, those of a rollback journal wait with their commits.
/// `check`: the copy's integrity is checked before it gets its name (`sqlite.corrupt`).
/// `sqlite.exists` where `to` is there.
core::Result<Copied> snapshot(const std::string& from, const std::string& to, bool check, const Stop& stop);

/// Replaces the content of the database at `to` (made where it is missing) by that of `from`, in one transaction: its
/// other connections see the old content or the new one. The snapshot's integrity is checked first.
/// `sqlite.busy` while another connection holds it; stopped in the middle, it has the old content.
core::Result<Copied> restore(const std::string& from, const std::string& to, const Stop& stop);

/// What `PRAGMA integrity_check` and `PRAGMA foreign_key_check` find wrong, a line each, 100 at most; empty: nothing.
core::Result<std::vector<std::string>> problems(const std::string& path, const Stop& stop);

}  // namespace deployrun::sqlite
