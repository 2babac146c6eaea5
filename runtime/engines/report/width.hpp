// How many columns of a terminal a text takes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace deployrun::report {

/// Columns of clean UTF-8 without control sequences: 2 for wide characters, 0 for combining ones.
std::size_t display_width(std::string_view text);

/// `text` in at most `columns`; what is cut off is marked with "…".
std::string fit(std::string_view text, std::size_t columns);

}  // namespace deployrun::report
