#include "report/style.hpp"

#include <array>
#include <cstdio>

namespace deployrun::report {

bool wants_color(ColorChoice choice, bool terminal, const Environment& environment) {
  if (choice != ColorChoice::automatic) return choice == ColorChoice::always;
  const auto set = [&](const char* name) {
    const std::string value = environment(name);
    return !value.empty() && value != "0";
  };
  if (set("FORCE_COLOR") || set("CLICOLOR_FORCE")) return true;
  if (!environment("NO_COLOR").empty()) return false;
  return terminal && environment("TERM") != "dumb" && !set("CI");
}

std::string duration(std::int64_t ms) {
  std::array<char, 48> text{};
  const std::int64_t seconds = (ms + 500) / 1000;
  if (ms < 59'950) {
    std::snprintf(text.data(), text.size(), "%.1f s", static_cast<double>(ms) / 1000);
  } else if (seconds < 3600) {
    std::snprintf(text.data(), text.size(), "%lld min %02lld s", static_cast<long long>(seconds / 60),
                  static_cast<long long>(seconds % 60));
  } else {
    std::snprintf(text.data(), text.size(), "%lld h %02lld min", static_cast<long long>(seconds / 3600),
                  static_cast<long long>(seconds / 60 % 60));
  }
  return text.data();
}

std::string count(std::int64_t number, const std::string& noun) {
  return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string paint(std::string_view text, Ink ink, bool color) {
  if (!color || ink == Ink::plain || text.empty()) return std::string(text);
  const char* code = ink == Ink::bold    ? "1"
                     : ink == Ink::dim   ? "2"
                     : ink == Ink::red   ? "31"
                     : ink == Ink::green ? "32"
                                         : "33";
  return std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m";
}

std::string indent_rest(std::string_view text, std::size_t spaces) {
  std::string result;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  for (const char each : text) {
    result += each;
    if (each == '\n') result.append(spaces, ' ');
  }
  return result;
}

}  // namespace deployrun::report
