// «Did you mean …?»: the known name that a mistyped one is closest to.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deployrun::core {

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment), ignoring ASCII case.
std::size_t edit_distance(std::string_view left, std::string_view right);

/// The closest of `names`, if it is close enough to be a typing mistake (a third of the longer name, at least 1, at
/// most 4 edits, or one begins with the other); the first of equals.
std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& names);

/// `did you mean 'x'?` where one is near, else `known: a, b, c` (at most 12 of them), else empty. For hints.
std::string nearest_hint(std::string_view name, const std::vector<std::string>& names);

}  // namespace deployrun::core
