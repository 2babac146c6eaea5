// Who holds a database: the processes that have a lock on it now, as the kernel and SQLite's lock bytes tell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace deployrun::sqlite {

struct Holder {
  std::int64_t pid = 0;
  std::string command;    ///< its first two words ("ruby bin/rails"), without what may be secret behind them
  std::string container;  ///< ID of the container that it runs in; empty outside of one, or where that cannot be seen
  bool writes = false;    ///< holds what keeps other writers out; else it only reads
};

/// The processes of this machine that have a lock on the database at `path`, this one left out; writers first. Without
/// the right to see a process, its command is empty. Empty where nobody holds it or /proc does not tell.
/// Lock bytes: sqlite.org/fileformat2.html#wal_locks for a WAL, os.h's PENDING_BYTE for a rollback journal.
std::vector<Holder> find_holders(const std::string& path);

/// "ruby bin/rails (process 4711, container 0a1b2c3d4e5f)"
std::string describe(const Holder& holder);

/// Names the first holder in the message, and carries `holder_pid`, `holder_command`, `holder_container`.
void add_holders(core::Error& error, const std::vector<Holder>& holders);
/// The same for whoever has a lock on the database at `path` now.
core::Error name_holders(const std::string& path, core::Error error);

}  // namespace deployrun::sqlite
