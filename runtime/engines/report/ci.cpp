#include "report/ci.hpp"

#include <algorithm>
#include <charconv>

namespace deployrun::report {

namespace {

/// Takes ":number" off the end of `text`; 0 where there is none.
int take_number(std::string_view& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return 0;
  int number = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + colon + 1, end, number);
  if (read.ec != std::errc() || read.ptr != end || number <= 0) return 0;
  text = text.substr(0, colon);
  return number;
}

std::string gitlab_mark(const char* which, int number, std::int64_t unix_seconds) {
  return std::string("\x1b[0Ksection_") + which + ":" + std::to_string(unix_seconds) + ":deployrun_" +
         std::to_string(number) + "\r\x1b[0K";
}

}  // namespace

Ci ci_of(const std::function<std::string(const char*)>& environment) {
  if (environment("GITHUB_ACTIONS") == "true") return Ci::github;
  if (environment("GITLAB_CI") == "true") return Ci::gitlab;
  return Ci::none;
}

std::string escape_command(std::string_view text, bool property) {
  std::string result;
  for (const char each : text) {
    switch (each) {
      case '%': result += "%25"; break;
      case '\r': result += "%0D"; break;
      case '\n': result += "%0A"; break;
      case ':': result += property ? "%3A" : ":"; break;
      case ',': result += property ? "%2C" : ","; break;
      default: result += each;
    }
  }
  return result;
}

std::string fold_start(Ci ci, std::string_view title, int number, std::int64_t unix_seconds) {
  if (ci == Ci::github) return "::group::" + escape_command(title, false) + "\n";
  if (ci == Ci::gitlab) return gitlab_mark("start", number, unix_seconds) + std::string(title) + "\n";
  return std::string(title) + "\n";
}

std::string fold_end(Ci ci, int number, std::int64_t unix_seconds) {
  if (ci == Ci::github) return "::endgroup::\n";
  if (ci == Ci::gitlab) return gitlab_mark("end", number, unix_seconds) + "\n";
  return {};
}

Place place_of(std::string_view where, const std::filesystem::path& root) {
  Place place;
  const int last = take_number(where);
  if (last == 0) return place;
  const int before = take_number(where);
  place.line = before != 0 ? before : last;
  place.column = before != 0 ? last : 0;
  std::filesystem::path file(where);
  if (!root.empty()) {
    std::error_code ignored;
    file = std::filesystem::absolute(file, ignored).lexically_normal().lexically_relative(root.lexically_normal());
  }
  place.file = file.generic_string();
  if (place.file.empty() || place.file.starts_with("..")) return {};
  return place;
}

std::string annotation(std::string_view level, const Place& place, std::string_view title, std::string_view message) {
  std::string line = "::" + std::string(level) + " ";
  if (!place.file.empty()) {
    line += "file=" + escape_command(place.file, true) + ",line=" + std::to_string(place.line) + ",";
    if (place.column != 0) line += "col=" + std::to_string(place.column) + ",";
  }
  return line + "title=" + escape_command(title, true) + "::" + escape_command(message, false) + "\n";
}

std::string mask_line(std::string_view value) { return "::add-mask::" + escape_command(value, false) + "\n"; }

}  // namespace deployrun::report
