// The files of databases as files: those that nobody has open any more are removed or set aside, room is taken on their
// disk.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.hpp"

namespace deployrun::sqlite {

/// Removes a database that nobody has open (a snapshot, one that was half made) with what lies beside it; also what
/// `reserve` made. False: nothing was there. `sqlite.open` for what is neither.
core::Result<bool> remove_database(const std::string& path);

/// Gives a database that nobody has open another name in its folder, whatever its files hold, with what lies beside it.
/// Done again after it was cut off it finishes. False: nothing was left to move. `sqlite.exists` where one of the new
/// names is taken.
core::Result<bool> move_database(const std::string& from, const std::string& to);

/// Makes a file of that many bytes, which are taken on the disk; one that is there becomes as large as that.
/// `sqlite.full` where the disk has them not: then nothing is left behind.
core::Result<core::Unit> reserve(const std::string& path, std::int64_t bytes);

}  // namespace deployrun::sqlite
