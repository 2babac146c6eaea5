// Where a database may lie: what must be known of a path before it is opened.
#pragma once

#include <string>

#include "core/result.hpp"

namespace deployrun::sqlite {

/// The path with every symbolic link resolved; of a file that is not there yet, that of its folder.
/// Refuses network file systems (`sqlite.network_filesystem`): their locks cannot be relied upon, and the shared memory
/// of a WAL works on one machine only (sqlite.org/wal.html). `sqlite.open` where the folder is missing.
core::Result<std::string> check_place(const std::string& path);

}  // namespace deployrun::sqlite
