// The one table of the program's commands and options. The parser, --help, the completions and the man page all read
// it; what a recipe declares is added to it where a recipe is known.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace deployrun::cli {

enum class Entry {
  version,
  recipe,
  specs,
  lua,  ///< `main(request)` of CommandRow::module
};

struct CommandRow {
  const char* name;   ///< as typed; two words for a command of a group ("host trust"); kRecipe for a recipe's file
  const char* words;  ///< what follows it, for people: "SHELL [RECIPE]"; a completion knows RECIPE, FILE, DIR and a|b
  int least;          ///< how many words at least
  int most;           ///< and at most; -1: any number
  const char* help;
  Entry entry;
  const char* module = nullptr;
};

struct OptionRow {
  const char* name;     ///< without dashes
  const char* letter;   ///< "q", or nullptr
  const char* value;    ///< what to call its value (DIR and COUNT are checked); nullptr: a flag
  const char* choices;  ///< "a|b", or nullptr
  const char* help;
  const char* commands;  ///< whose it is, joined by commas; nullptr: everybody's
};

inline constexpr std::string_view kRecipe = "RECIPE";

std::span<const CommandRow> commands();
std::span<const OptionRow> options();
/// Whether `option` may follow the command called `name`.
bool belongs(const OptionRow& option, std::string_view name);
/// What --help prints.
std::string help_text();
/// What `deployrun COMMAND --help` prints.
std::string help_text(const CommandRow& command);

}  // namespace deployrun::cli
