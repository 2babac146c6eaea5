// What CI runners read in a job's log: the marks that fold a step's output, the lines that mark errors in the run's
// summary, and the values that the runner masks by itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace deployrun::report {

enum class Ci { none, github, gitlab };

/// Which runner reads the log: GITHUB_ACTIONS or GITLAB_CI is `true`.
Ci ci_of(const std::function<std::string(const char*)>& environment);

/// GitHub Actions: percent-encodes what would end a command's message early (%, CR, LF), and in a property also ':' and
/// ','.
std::string escape_command(std::string_view text, bool property);

/// Opens a fold with a title of its own line. `number` tells sections of one log apart, `unix_seconds` is when it
/// began.
std::string fold_start(Ci ci, std::string_view title, int number, std::int64_t unix_seconds);
std::string fold_end(Ci ci, int number, std::int64_t unix_seconds);

/// Where a mark belongs: `file` below the repository's root, `line` and `column` from 1; 0: not known.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
};

/// "recipes/prod.lua:12:3", seen from the folder `root` (empty: as it is written). A place outside `root` has no file.
Place place_of(std::string_view where, const std::filesystem::path& root);

/// GitHub Actions: `level` is "error" or "warning".
std::string annotation(std::string_view level, const Place& place, std::string_view title, std::string_view message);

/// GitHub Actions: the runner masks `value` from here on.
std::string mask_line(std::string_view value);

}  // namespace deployrun::report
