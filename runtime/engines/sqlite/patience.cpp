#include "sqlite/patience.hpp"

#include <algorithm>

#include "core/duration.hpp"

namespace deployrun::sqlite {

core::Milliseconds pause_after(int attempts) { return core::Milliseconds(std::clamp(attempts / 20, 1, 50)); }

core::Error busy_for(const std::string& what, core::Milliseconds waited, core::Error error) {
  error.message = what + " was busy for " + core::format_duration(waited);
  error.details["waited_ms"] = static_cast<std::int64_t>(waited.count());
  return error;
}

}  // namespace deployrun::sqlite
