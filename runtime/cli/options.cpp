#include "cli/options.hpp"

#include <CLI/CLI.hpp>

#include "core/nearest.hpp"

namespace deployrun::cli {

namespace {

constexpr const char* kBare = "yes";  // `--lock-wait` without a duration

core::Error wrong(std::string message, std::string hint = "deployrun --help") {
  return core::Error{.kind = "usage", .message = std::move(message), .hint = std::move(hint)};
}

/// The row of the command that `words` begin with, and how many words name it. A word that is no command is a recipe.
std::pair<const CommandRow*, int> find_command(const std::vector<std::string>& words) {
  const CommandRow* recipe = nullptr;
  for (const CommandRow& row : commands()) {
    const std::string_view name = row.name;
    if (name == kRecipe) {
      recipe = &row;
    } else if (name == words[0]) {
      return {&row, 1};
    } else if (words.size() > 1 && name == words[0] + " " + words[1]) {
      return {&row, 2};
    }
  }
  return {recipe, 1};
}

/// What of the table belongs to the command, as CLI11 wants it, and what it then read.
struct Reader {
  CLI::App app;
  std::map<std::string, std::size_t> flags;
  std::map<std::string, std::string> texts;

  explicit Reader(const CommandRow& command) {
    app.set_help_flag();
    app.allow_extras();
    for (const OptionRow& row : options()) {
      if (!belongs(row, command.name)) continue;
      // A recipe may have a grammar of its own in which -h is something else: stdlib/deploy/main.lua says which.
      const bool left_to_lua = std::string_view(row.name) == "help" && std::string_view(command.name) == kRecipe;
      const bool lettered = row.letter != nullptr && !left_to_lua;
      const std::string names = (lettered ? std::string("-") + row.letter + "," : "") + "--" + row.name;
      if (row.value == nullptr) {
        app.add_flag_function(names,
                              [this, &row](std::int64_t count) { flags[row.name] = static_cast<std::size_t>(count); });
        continue;
      }
      CLI::Option* option = app.add_option(names, texts[row.name]);
      const std::string_view value = row.value;
      // A recipe's own grammar may have it as a flag: stdlib/deploy/main.lua knows.
      if (row.name == std::string_view("lock-wait")) option->expected(0, 1);
      if (value == "COUNT") option->check(CLI::Range(1, 10000));
      if (value == "DIR" && row.name != std::string_view("write")) option->check(CLI::ExistingDirectory);
      if (row.choices != nullptr) option->check(CLI::IsMember(CLI::detail::split(row.choices, '|')));
    }
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool has(const char* name) const { return flags.contains(name); }
};

/// The nearest of the names that may stand where `word` does.
std::string hint_for(const std::string& word, const CommandRow& command) {
  std::vector<std::string> names;
  for (const OptionRow& row : options()) {
    if (belongs(row, command.name)) names.push_back(std::string("--") + row.name);
  }
  return core::nearest(word, names) ? core::nearest_hint(word, names)
                                    : std::string("deployrun ") + command.name + " --help";
}

core::Result<core::Unit> check_words(const CommandRow& command, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word.starts_with("-") && word != "-") {
      return wrong(std::string(command.name) + ": unknown option `" + word + "`", hint_for(word, command));
    }
  }
  const auto count = static_cast<int>(words.size());
  const std::string usage = std::string("deployrun ") + command.name + " " + command.words;
  if (count < command.least) return wrong(std::string(command.name) + ": a word is missing", usage);
  if (command.most >= 0 && count > command.most) {
    return wrong(std::string(command.name) + ": unexpected `" + words[static_cast<std::size_t>(command.most)] + "`",
                 usage);
  }
  return core::Unit{};
}

void take(Options& options, const Reader& reader) {
  for (const auto& [name, count] : reader.flags) options.given[name] = "";
  for (const auto& [name, text] : reader.texts) {
    if (reader.app.count("--" + name) > 0) options.given[name] = text;
  }
  const auto text = [&options](const char* name, std::string fallback) {
    const auto found = options.given.find(name);
    return found != options.given.end() ? found->second : fallback;
  };
  options.help = reader.has("help");
  options.plan = reader.has("plan");
  options.exit_code = reader.has("exit-code");
  options.record = text("record", "");
  options.report = text("report", "");
  options.force = reader.has("force");
  options.lock_wait = text("lock-wait", "");
  if (options.given.contains("lock-wait") && options.lock_wait.empty()) options.lock_wait = kBare;
  options.unsafe = reader.has("unsafe");
  options.json = reader.has("json");
  if (reader.has("verbose")) options.verbosity = static_cast<int>(std::min<std::size_t>(reader.flags.at("verbose"), 3));
  if (reader.has("quiet")) options.verbosity = -1;
  options.color = text("color", "auto");
  options.progress = text("progress", "auto");
  options.stdlib = text("stdlib", "");
  options.project = text("project", ".");
  if (reader.has("resume")) options.mode = Mode::resume;
  if (reader.has("abort")) options.mode = Mode::abort;
}

}  // namespace

core::Result<Options> parse_options(int argc, char** argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) words.emplace_back("--help");
  if (words[0] == "--version") words[0] = "version";
  Options options;
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    options.help = true;
    return options;
  }
  if (words[0].starts_with("-")) return wrong("the recipe comes first: deployrun RECIPE [COMMAND] [options]");
  const auto [command, named] = find_command(words);
  options.command = command;
  if (command->entry == Entry::recipe) options.recipe = words[0];
  words.erase(words.begin(), words.begin() + named);

  // A lone `--` ends our options and theirs; the words after it reach the recipe's command untouched.
  const auto ours = std::find(words.begin(), words.end(), "--");
  std::vector<std::string> after(ours, words.end());
  words.erase(ours, words.end());
  std::reverse(words.begin(), words.end());  // as CLI11 takes a vector
  Reader reader(*command);
  try {
    reader.app.parse(words);
  } catch (const CLI::ParseError& error) {
    return wrong(error.what());
  }
  options.words = reader.app.remaining();
  options.words.insert(options.words.end(), after.begin(), after.end());
  take(options, reader);
  if (reader.has("resume") && reader.has("abort")) return core::usage("--resume and --abort exclude each other");
  if (options.plan && options.mode != Mode::run)
    return core::usage("--plan and --resume or --abort exclude each other");
  if (!options.plan && (options.exit_code || !options.record.empty())) {
    return wrong(std::string(options.exit_code ? "--exit-code" : "--record") + " belongs to --plan", "add --plan");
  }
  if (command->entry == Entry::recipe || options.help) return options;
  if (auto checked = check_words(*command, options.words); !checked.ok()) return std::move(checked).error();
  // What is of a recipe looks for modules where that recipe would.
  if (const auto of = options.given.find("of"); of != options.given.end()) {
    options.recipe = of->second;
  } else if (std::string_view(command->words).starts_with("[RECIPE]") && !options.words.empty()) {
    options.recipe = options.words[0];
  }
  return options;
}

}  // namespace deployrun::cli
