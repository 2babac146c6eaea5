// The file behind a mutex: taking it at once, and who has it. Blocks no longer than the disk.
#pragma once

#include <memory>
#include <string>

#include "core/file_lock.hpp"

namespace deployrun::sqlite {

/// Takes the lock on the file at `path`, made where it is missing, its folder too (0700); `sqlite.busy` where somebody
/// has it. `says`: what others are told of us.
core::Result<std::shared_ptr<core::FileLock>> try_mutex(const std::string& path, const std::string& says);

/// "the mutex deploy", for messages.
std::string mutex_title(const std::string& path);

/// Adds what the holder says of itself.
core::Error name_mutex_holder(const std::string& path, core::Error error);

}  // namespace deployrun::sqlite
