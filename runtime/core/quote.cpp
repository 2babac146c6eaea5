#include "core/quote.hpp"

#include "core/error.hpp"

namespace deployrun::core {

std::string shell_quote(std::string_view word) {
  if (word.find('\0') != std::string_view::npos) throw Failure(usage("a command's word holds a NUL byte"));
  // Safe everywhere and in every position: no '~' (home), '=' (zsh, and an assignment in front) or ',' and '{'
  // (braces).
  constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+";
  if (!word.empty() && word.find_first_not_of(kSafe) == std::string_view::npos) return std::string(word);
  std::string quoted = "'";
  for (const char byte : word) {
    if (byte == '\'') {
      quoted += "'\\''";
    } else {
      quoted += byte;
    }
  }
  quoted += '\'';
  return quoted;
}

std::string shell_join(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) {
    if (!command.empty()) command += ' ';
    command += shell_quote(word);
  }
  return command;
}

}  // namespace deployrun::core
