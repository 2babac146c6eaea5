// How what is busy is waited for: how often it is tried again, and how the error says that it was in vain.
#pragma once

#include <string>

#include "core/error.hpp"
#include "core/time.hpp"

namespace deployrun::sqlite {

/// Before the next try of what was busy `attempts` times: one millisecond at first, so that a lock is handed over at
/// once; 50 when it takes long.
core::Milliseconds pause_after(int attempts);

/// `error` (`sqlite.busy`) of `what`, which was waited for that long; `waited_ms`.
core::Error busy_for(const std::string& what, core::Milliseconds waited, core::Error error);

}  // namespace deployrun::sqlite
