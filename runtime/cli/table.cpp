#include "cli/table.hpp"

#include <algorithm>
#include <array>

namespace deployrun::cli {

namespace {

constexpr auto kCommands = std::to_array<CommandRow>({
    {"RECIPE", "[COMMAND] [--param value …]", 0, -1, "run a recipe's command (its default one when none is named)",
     Entry::recipe},
    {"init", "[DIR]", 0, 1, "begin a project: recipe, inventory, specs, CI file", Entry::lua, "cli.init"},
    {"check", "RECIPE …", 1, -1, "look for mistakes in recipes and their inventories, without a host", Entry::lua,
     "cli.check"},
    {"test", "[FILE|DIR …]", 0, -1, "run Lua specs (default: tests)", Entry::specs},
    {"history", "[RUN]", 0, 1, "past runs: what, when, by whom, how they ended; or one of them, step by step",
     Entry::lua, "cli.history"},
    {"host trust", "HOST …", 1, -1, "show a host's keys, and write them down once you say that they are its own",
     Entry::lua, "cli.host_trust"},
    {"secrets check", "FILE", 1, 1, "which secrets a recipe or an inventory asks for, and where they are", Entry::lua,
     "cli.secrets_check"},
    {"repl", "[RECIPE]", 0, 1, "type Lua in a recipe's environment", Entry::lua, "cli.repl"},
    {"doc", "[NAME]", 0, 1, "the documentation of a function, a class, a module or a command", Entry::lua, "cli.doc"},
    {"types", "DIR", 1, 1, "write what an editor needs to complete and check recipes into DIR/library", Entry::lua,
     "cli.types"},
    {"completion", "bash|zsh|fish", 1, 1, "a shell's completion, to be sourced", Entry::lua, "cli.completion"},
    {"man", "", 0, 0, "the manual page, for man -l -", Entry::lua, "cli.man"},
    {"sbom", "", 0, 0, "what is inside this program (CycloneDX JSON)", Entry::lua, "cli.sbom"},
    {"version", "", 0, 0, "which deployrun this is; with -v what is inside", Entry::version},
});

constexpr auto kOptions = std::to_array<OptionRow>({
    {"resume", nullptr, nullptr, nullptr, "finish the run that was interrupted", "RECIPE"},
    {"abort", nullptr, nullptr, nullptr, "undo the run that was interrupted", "RECIPE"},
    {"plan", nullptr, nullptr, nullptr, "say what would be changed, as commands one could paste, and change nothing",
     "RECIPE"},
    {"exit-code", nullptr, nullptr, nullptr, "with --plan: exit code 6 when changes are pending", "RECIPE"},
    {"record", nullptr, "FILE", nullptr, "with --plan: write the facts that it saw, for specs (deployrun test)",
     "RECIPE"},
    {"report", nullptr, "FILE.html", nullptr, "write one page of the run: timeline, logs, probes, checks, what changed",
     "RECIPE"},
    {"force", nullptr, nullptr, nullptr, "with --resume or --abort: go on although the recipe has changed", "RECIPE"},
    {"lock-wait", nullptr, "DURATION", nullptr, "wait for a deploy lock that somebody else has, 10m for example",
     "RECIPE"},
    {"unsafe", nullptr, nullptr, nullptr, "give the recipe ffi, debug, os.execute and io.popen",
     "RECIPE,check,repl,test"},
    {"limit", "n", "COUNT", nullptr, "how many runs (default: 20)", "history"},
    {"command", nullptr, "NAME", nullptr, "runs of this command alone", "history"},
    {"state", nullptr, "STATE", "running|done|failed_undone|aborted|needs_person|cancelled",
     "runs that ended like this alone", "history"},
    {"recipe", nullptr, "FILE", nullptr, "runs of this recipe alone", "history"},
    {"fingerprint", nullptr, "SHA256:…", nullptr, "the key that the host's administrator named, and no other",
     "host trust"},
    {"yes", nullptr, nullptr, nullptr, "trust whatever they show: only where nobody can be in between", "host trust"},
    {"file", nullptr, "FILE", nullptr, "the known_hosts file to check and to write to (default: ~/.ssh/known_hosts)",
     "host trust"},
    {"port", nullptr, "PORT", nullptr, "default: 22, or what OpenSSH's configuration says", "host trust"},
    {"jump", nullptr, "HOST", nullptr, "go through it: user@bastion:22, several by commas", "host trust"},
    {"ssh-config", nullptr, "FILE", nullptr, "instead of ~/.ssh/config; none: no configuration", "host trust"},
    {"of", nullptr, "RECIPE", nullptr, "a recipe's commands and parameters, a line each (the scripts ask for this)",
     "completion"},
    {"write", nullptr, "DIR", nullptr, "all of it as Markdown files in this folder", "doc"},
    {"json", nullptr, nullptr, nullptr, "one event per line on standard output (docs/events.md)", nullptr},
    {"quiet", "q", nullptr, nullptr, "only errors and the result", nullptr},
    {"verbose", "v", nullptr, nullptr,
     "commands and changing calls (-v), their output and all calls (-vv), everything (-vvv)", nullptr},
    {"color", nullptr, "WHEN", "auto|always|never", "NO_COLOR and FORCE_COLOR are honoured", nullptr},
    {"progress", nullptr, "WHEN", "auto|live|plain", "a live board on a terminal, or lines alone", nullptr},
    {"project", nullptr, "DIR", nullptr, "the folder that holds .deployrun/ (default: the current one)", nullptr},
    {"stdlib", nullptr, "DIR", nullptr, "use this stdlib instead of the built-in one", nullptr},
    {"help", "h", nullptr, nullptr, "this; with a recipe: its commands and parameters", nullptr},
});

/// Columns that `text` takes: bytes that do not go on with a UTF-8 character.
std::size_t width(std::string_view text) {
  std::size_t columns = 0;
  for (const char byte : text) columns += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  return columns;
}

std::string padded(std::string text, std::size_t columns) {
  const std::size_t has = width(text);
  text.append(has < columns ? columns - has : 1, ' ');
  return text;
}

std::string usage_of(const CommandRow& row) {
  std::string text = row.name;
  if (*row.words != '\0') text += std::string(" ") + row.words;
  return text;
}

std::string option_lines(std::string_view command) {
  std::string text;
  for (const OptionRow& row : options()) {
    if (!belongs(row, command)) continue;
    std::string left = row.letter != nullptr ? std::string("-") + row.letter + ", --" : "    --";
    left += row.name;
    if (row.value != nullptr) left += std::string(" ") + row.value;
    std::string help = row.help;
    if (row.choices != nullptr) {
      std::string words = row.choices;
      for (auto at = words.find('|'); at != std::string::npos; at = words.find('|', at)) words.replace(at, 1, ", ");
      help = words + ": " + help;
    }
    text += "  " + padded(std::move(left), 22) + help + "\n";
  }
  return text;
}

constexpr const char* kExitCodes = R"(
Exit codes: 0 done · 1 failed, and undone · 2 usage, recipe or configuration error, nothing ran · 3 another run is in
progress or has the deploy lock · 4 a host is unreachable or its key was refused, nothing changed · 5 needs a person: an unfinished run, or an
undo that did not complete · 6 with --plan --exit-code: changes are pending · 130/143 interrupted, and undone
)";

}  // namespace

std::span<const CommandRow> commands() { return kCommands; }
std::span<const OptionRow> options() { return kOptions; }

bool belongs(const OptionRow& option, std::string_view name) {
  if (option.commands == nullptr) return true;
  std::string_view rest = option.commands;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    if (rest.substr(0, comma) == name) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

std::string help_text() {
  std::string text = "deployrun: runs deploy recipes, step by step, and undoes them when they fail\n\n";
  for (const CommandRow& row : commands()) text += "  deployrun " + padded(usage_of(row), 36) + row.help + "\n";
  text += "\nOptions, anywhere after RECIPE (those of the other commands: deployrun COMMAND --help):\n";
  return text + option_lines(kRecipe) + kExitCodes;
}

std::string help_text(const CommandRow& command) {
  return std::string("deployrun ") + usage_of(command) + "\n  " + command.help + "\n\nOptions:\n" +
         option_lines(command.name);
}

}  // namespace deployrun::cli
