// The program's time for waiting: monotonic; wall-clock time is never used for it.
#pragma once

#include <chrono>

namespace deployrun::core {

using Instant = std::chrono::steady_clock::time_point;
using Milliseconds = std::chrono::milliseconds;

}  // namespace deployrun::core
