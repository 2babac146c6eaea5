// SQLite's result codes as the room's closed list of error kinds (docs/errors.md).
#pragma once

#include <sqlite3.h>

#include <string>

#include "core/error.hpp"

namespace deployrun::sqlite {

/// `what` was tried on the file at `path`; `database` (may be null) knows the library's own words.
/// Carries `code`, the extended result code.
core::Error to_error(sqlite3* database, int code, const std::string& path, const std::string& what);

}  // namespace deployrun::sqlite
