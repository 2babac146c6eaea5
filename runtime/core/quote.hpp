// The one place that writes a word for a POSIX shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace deployrun::core {

/// `word` as one word that every POSIX shell gives back byte for byte: as it is where that is safe, else in single
/// quotes. Throws Failure (`usage`) for a NUL byte, which no argument can hold.
std::string shell_quote(std::string_view word);

/// The words of a command, quoted and separated by spaces.
std::string shell_join(const std::vector<std::string>& words);

}  // namespace deployrun::core
