// How text looks for people: whether colours are wanted, and how durations are written.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace deployrun::report {

enum class ColorChoice { automatic, always, never };

/// A variable of the environment; empty where it is not set.
using Environment = std::function<std::string(const char*)>;

/// `always` and `never` decide alone; else FORCE_COLOR, CLICOLOR_FORCE, NO_COLOR, TERM=dumb, CI and the terminal, in
/// this order.
bool wants_color(ColorChoice choice, bool terminal, const Environment& environment);

/// "0.1 s", "42.0 s", "1 min 05 s", "2 h 03 min"
std::string duration(std::int64_t ms);

/// "3 hosts", "1 host"
std::string count(std::int64_t number, const std::string& noun);

enum class Ink { plain, bold, dim, red, green, yellow };

/// `text` in that ink, or as it is without colour.
std::string paint(std::string_view text, Ink ink, bool color);

/// `text` with every line after the first moved right by `spaces`.
std::string indent_rest(std::string_view text, std::size_t spaces);

}  // namespace deployrun::report
