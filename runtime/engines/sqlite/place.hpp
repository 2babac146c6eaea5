// Where a database may lie: what must be known of a path before it is opened.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.hpp"

namespace deployrun::sqlite {

/// The path with every symbolic link resolved; of a file that is not there yet, that of its folder.
/// Refuses network file systems (`sqlite.network_filesystem`): their locks cannot be relied upon, and the shared memory
/// of a WAL works on one machine only (sqlite.org/wal.html). `sqlite.open` where the folder is missing.
core::Result<std::string> check_place(const std::string& path);

struct Space {
  std::int64_t bytes = 0;  ///< of the database with its WAL or journal; 0 where it is not there
  std::int64_t free = 0;   ///< on its disk, for this user
};

/// What a database takes and what is left beside it. Kinds of check_place.
core::Result<Space> space_of(const std::string& path);

}  // namespace deployrun::sqlite
