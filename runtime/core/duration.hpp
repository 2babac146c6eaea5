// Durations as people write them ("10m", "500ms", "1h30m") and read them.
#pragma once

#include <string>
#include <string_view>

#include "core/result.hpp"
#include "core/time.hpp"

namespace deployrun::core {

/// Whole or decimal numbers, each with a unit (d h m s ms), larger units first, no spaces: "1h30m", "1.5s". At most 366
/// d, not finer than 1 ms. A number without a unit is refused: nobody knows what it meant. Kind `usage`.
Result<Milliseconds> parse_duration(std::string_view text);

/// Two units at most, rounded: "0 ms", "340 ms", "4.2 s", "3 min 5 s", "2 h 10 min", "3 d 4 h".
std::string format_duration(Milliseconds duration);

}  // namespace deployrun::core
