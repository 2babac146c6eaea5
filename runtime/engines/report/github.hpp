// Workflow commands of GitHub Actions: the lines that fold a step's output and mark errors in the run's summary.
#pragma once

#include <string>
#include <string_view>

namespace deployrun::report {

/// Percent-encodes what would end a command's message early (%, CR, LF), and in a property also ':' and ','.
std::string escape_command(std::string_view text, bool property);

inline std::string group_line(std::string_view title) { return "::group::" + escape_command(title, false) + "\n"; }
inline std::string end_group_line() { return "::endgroup::\n"; }
inline std::string error_line(std::string_view title, std::string_view message) {
  return "::error title=" + escape_command(title, true) + "::" + escape_command(message, false) + "\n";
}

}  // namespace deployrun::report
