// A named lock between the processes of a machine, for what must not happen twice at a time (a migration, a first
// initialisation). Freed by the kernel when its holder ends; never a left-over file.
#pragma once

#include <memory>
#include <string>

#include "core/file_lock.hpp"
#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::sqlite {

/// Takes the lock on the file at `path`, made where it is missing; waits up to `patience`. `says` is what others are
/// told of the holder, one line. Busy: `sqlite.busy` with what the holder says, `waited_ms`. The lock lives as long as
/// the result.
std::unique_ptr<core::Operation<std::shared_ptr<core::FileLock>>> acquire_mutex(core::Loop& loop, std::string path,
                                                                                std::string says,
                                                                                core::Milliseconds patience);

}  // namespace deployrun::sqlite
