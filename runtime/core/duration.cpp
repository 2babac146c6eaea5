#include "core/duration.hpp"

#include <array>
#include <cmath>
#include <cstdint>

namespace deployrun::core {

namespace {

struct Scale {
  std::string_view name;
  std::int64_t ms;
};
// Largest first: the order in which they may follow each other.
constexpr std::array<Scale, 5> kUnits{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::int64_t kLongest = 366LL * 86'400'000;

bool digit(char byte) { return byte >= '0' && byte <= '9'; }

Error refused(std::string_view text, const char* why) {
  Error error = usage("duration '" + std::string(text) + "': " + why);
  error.hint = "write it like \"500ms\", \"30s\", \"10m\" or \"1h30m\"";
  return error;
}

std::string number(double value) {  // one decimal, and none where it says nothing
  const auto tenths = static_cast<std::int64_t>(std::llround(value * 10));
  std::string text = std::to_string(tenths / 10);
  if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text;
}

std::string pair_of(std::int64_t whole, const char* unit, std::int64_t rest, const char* rest_unit) {
  std::string text = std::to_string(whole) + " " + unit;
  if (rest > 0) text += " " + std::to_string(rest) + " " + rest_unit;
  return text;
}

}  // namespace

Result<Milliseconds> parse_duration(std::string_view text) {
  if (text.empty()) return refused(text, "it is empty");
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  std::size_t i = 0;
  while (i < text.size()) {
    // Nine digits hold every allowed duration in ms; more could overflow.
    std::int64_t whole = 0;
    std::int64_t fraction = 0;
    std::int64_t scale = 1;
    const std::size_t begin = i;
    for (; i < text.size() && digit(text[i]); ++i) {
      whole = whole * 10 + (text[i] - '0');
      if (whole > kLongest) return refused(text, "longer than 366 days");
    }
    if (i == begin) return refused(text, "expected a number");
    if (i < text.size() && text[i] == '.') {
      const std::size_t point = ++i;
      for (; i < text.size() && digit(text[i]); ++i) {
        if (i - point >= 8) return refused(text, "finer than a millisecond");
        fraction = fraction * 10 + (text[i] - '0');
        scale *= 10;
      }
      if (i == point) return refused(text, "expected digits after the point");
    }
    const std::size_t unit_begin = i;
    while (i < text.size() && !digit(text[i])) ++i;
    const std::string_view name = text.substr(unit_begin, i - unit_begin);
    if (name.empty()) return refused(text, "a number without a unit");
    std::size_t unit = next_unit;
    while (unit < kUnits.size() && kUnits[unit].name != name) ++unit;
    if (unit == kUnits.size()) {
      for (const Scale& known : kUnits) {
        if (known.name == name) return refused(text, "larger units come first, each once");
      }
      return refused(text, "units are d, h, m, s and ms");
    }
    if (fraction * kUnits[unit].ms % scale != 0) return refused(text, "finer than a millisecond");
    if (whole > kLongest / kUnits[unit].ms) return refused(text, "longer than 366 days");
    total += whole * kUnits[unit].ms + fraction * kUnits[unit].ms / scale;
    if (total > kLongest) return refused(text, "longer than 366 days");
    next_unit = unit + 1;
  }
  return Milliseconds(total);
}

std::string format_duration(Milliseconds duration) {
  const std::int64_t ms = duration.count();
  if (ms < 0) return "-" + format_duration(-duration);
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 59'950) return number(static_cast<double>(ms) / 1000) + " s";
  const std::int64_t seconds = (ms + 500) / 1000;
  if (seconds < 3600) return pair_of(seconds / 60, "min", seconds % 60, "s");
  const std::int64_t minutes = (seconds + 30) / 60;
  if (minutes < 24 * 60) return pair_of(minutes / 60, "h", minutes % 60, "min");
  const std::int64_t hours = (minutes + 30) / 60;
  return pair_of(hours / 24, "d", hours % 24, "h");
}

}  // namespace deployrun::core
