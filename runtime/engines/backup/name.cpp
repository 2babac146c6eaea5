#include "backup/name.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace deployrun::backup {

namespace {

constexpr std::string_view kEnding = ".sqlite3.zst";
constexpr std::size_t kIdLength = 20;
constexpr std::size_t kHashLength = 64;
constexpr std::size_t kLongestPlan = 100;

bool only(std::string_view text, std::string_view of) { return text.find_first_not_of(of) == std::string_view::npos; }

std::optional<std::int64_t> parse_id(std::string_view id) {
  constexpr std::string_view kShape = "ddddddddTdddddd.dddZ";
  if (id.size() != kShape.size()) return {};
  for (std::size_t at = 0; at < id.size(); ++at) {
    const bool fits = kShape[at] == 'd' ? id[at] >= '0' && id[at] <= '9' : id[at] == kShape[at];
    if (!fits) return {};
  }
  std::tm time{};
  int milliseconds = 0;
  if (std::sscanf(std::string(id).c_str(), "%4d%2d%2dT%2d%2d%2d.%3dZ", &time.tm_year, &time.tm_mon, &time.tm_mday,
                  &time.tm_hour, &time.tm_min, &time.tm_sec, &milliseconds) != 7) {
    return {};
  }
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  const std::int64_t made = std::int64_t{::timegm(&time)} * 1000 + milliseconds;
  // A 31 February would be another day.
  if (id_of({.made = made, .sha256 = {}}) != id) return {};
  return made;
}

}  // namespace

std::string id_of(const Name& name) {
  const auto seconds = static_cast<std::time_t>(name.made / 1000);
  std::tm time{};
  ::gmtime_r(&seconds, &time);
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "%04d%02d%02dT%02d%02d%02d.%03dZ", time.tm_year + 1900, time.tm_mon + 1,
                time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec, static_cast<int>(name.made % 1000));
  return text.data();
}

std::string file_of(std::string_view plan, const Name& name) {
  return std::string(plan) + "-" + id_of(name) + "-" + name.sha256 + std::string(kEnding);
}

std::optional<Name> parse_name(std::string_view plan, std::string_view file) {
  if (file.size() != plan.size() + 1 + kIdLength + 1 + kHashLength + kEnding.size()) return {};
  if (file.substr(0, plan.size()) != plan || file[plan.size()] != '-') return {};
  file.remove_prefix(plan.size() + 1);
  const auto made = parse_id(file.substr(0, kIdLength));
  const std::string_view hash = file.substr(kIdLength + 1, kHashLength);
  if (!made || file[kIdLength] != '-' || !only(hash, "0123456789abcdef")) return {};
  if (file.substr(kIdLength + 1 + kHashLength) != kEnding) return {};
  return Name{.made = *made, .sha256 = std::string(hash)};
}

bool is_plan_name(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !text.empty() && text.size() <= kLongestPlan && text.front() != '.' && text.front() != '-' &&
         only(text, kLetters);
}

}  // namespace deployrun::backup
