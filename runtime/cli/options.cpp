#include "cli/options.hpp"

#include <CLI/CLI.hpp>

namespace deployrun::cli {

namespace {

void add_common(CLI::App& app, Options& options) {
  app.add_flag("--json", options.json, "one event per line on standard output (docs/events.md)");
  app.add_flag_callback(
      "-q,--quiet", [&options] { options.verbosity = -1; }, "only errors and the result");
  app.add_flag_function(
      "-v,--verbose",
      [&options](std::int64_t count) { options.verbosity = static_cast<int>(std::min<std::int64_t>(count, 2)); },
      "more: commands (-v), their output (-vv)");
  app.add_option("--color", options.color, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
  app.add_option("--stdlib", options.stdlib, "use this folder instead of the built-in stdlib")
      ->check(CLI::ExistingDirectory);
  app.add_option("--project", options.project, "the folder that holds .deployrun/ (default: here)")
      ->check(CLI::ExistingDirectory);
}

std::optional<core::Error> parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return core::Error{.kind = "usage", .message = error.what(), .hint = "deployrun --help"};
  }
  return std::nullopt;
}

core::Result<Options> parse_history(int argc, char** argv) {
  Options options;
  options.command = Command::history;
  CLI::App app;
  app.set_help_flag();
  add_common(app, options);
  app.add_option("-n,--limit", options.limit, "how many runs")->check(CLI::Range(1, 10000));
  if (auto wrong = parse(app, argc - 1, argv + 1)) return *wrong;
  return options;
}

core::Result<Options> parse_test(int argc, char** argv) {
  Options options;
  options.command = Command::test;
  CLI::App app;
  app.set_help_flag();
  add_common(app, options);
  app.add_option("files", options.words, "spec files or folders")->required();
  if (auto wrong = parse(app, argc - 1, argv + 1)) return *wrong;
  return options;
}

core::Result<Options> parse_recipe(int argc, char** argv) {
  Options options;
  options.command = Command::recipe;
  options.recipe = argv[1];
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  add_common(app, options);
  bool resume = false;
  bool abort = false;
  app.add_flag("--resume", resume, "finish the run that did not finish");
  app.add_flag("--abort", abort, "undo the run that did not finish");
  app.add_flag("--plan", options.plan, "say what would be changed, and change nothing");
  app.add_flag("--exit-code", options.exit_code, "with --plan: 6 when changes are pending");
  app.add_option("--record", options.record, "with --plan: write what was found on the hosts, for specs");
  app.add_flag("--force", options.force, "with --resume or --abort: although the recipe changed");
  app.add_flag("--unsafe", options.unsafe, "give recipes ffi, debug, os.execute and io.popen");
  app.add_flag("-h,--help", options.help, "the recipe's commands");

  // A lone `--` ends our options and theirs; the words after it reach the recipe's command untouched.
  int ours = argc;
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--") {
      ours = i;
      break;
    }
  }
  if (auto wrong = parse(app, ours - 1, argv + 1)) return *wrong;
  options.words = app.remaining();
  for (int i = ours; i < argc; ++i) options.words.emplace_back(argv[i]);
  if (resume && abort) return core::usage("--resume and --abort exclude each other");
  if (options.plan && (resume || abort)) return core::usage("--plan and --resume or --abort exclude each other");
  if (!options.plan && (options.exit_code || !options.record.empty())) {
    return core::Error{.kind = "usage",
                       .message = std::string(options.exit_code ? "--exit-code" : "--record") + " belongs to --plan",
                       .hint = "add --plan"};
  }
  if (resume) options.mode = Mode::resume;
  if (abort) options.mode = Mode::abort;
  return options;
}

}  // namespace

core::Result<Options> parse_options(int argc, char** argv) {
  Options options;
  const std::string first = argc > 1 ? argv[1] : "--help";
  if (first == "--version") {
    options.command = Command::version;
    return options;
  }
  if (first == "--help" || first == "-h" || first == "help") return options;
  if (first == "history") return parse_history(argc, argv);
  if (first == "test") return parse_test(argc, argv);
  if (first.starts_with("-")) {
    return core::Error{.kind = "usage",
                       .message = "the recipe comes first: deployrun RECIPE [COMMAND] [options]",
                       .hint = "deployrun --help"};
  }
  return parse_recipe(argc, argv);
}

std::string help_text() {
  return R"(deployrun: runs deploy recipes, step by step, and undoes them when they fail

  deployrun RECIPE [COMMAND] [--param value …]   run a recipe's command (its default one when none is named)
  deployrun RECIPE --help                        the recipe's commands and parameters
  deployrun RECIPE [COMMAND] --plan              what would be changed, as commands; changes nothing
  deployrun RECIPE --resume | --abort            finish, or undo, a run that was interrupted
  deployrun history [-n COUNT]                   past runs: what, when, by whom, how it ended
  deployrun test FILE|FOLDER …                   run Lua specs
  deployrun --version

Options, anywhere after RECIPE:
  --json              one event per line on standard output (docs/events.md)
  -q, -v, -vv         quieter; commands; commands and their output
  --color WHEN        auto, always, never (NO_COLOR and FORCE_COLOR are honoured)
  --project DIR       the folder that holds .deployrun/ (default: the current one)
  --exit-code         with --plan: exit code 6 when changes are pending
  --record FILE       with --plan: write the facts that it saw, for specs (deployrun test)
  --force             with --resume or --abort: go on although the recipe has changed
  --unsafe            give the recipe ffi, debug, os.execute and io.popen
  --stdlib DIR        use this stdlib instead of the built-in one

Exit codes: 0 done · 1 failed, and undone · 2 usage, recipe or configuration error, nothing ran · 3 another run is in
progress · 4 a host is unreachable or its key was refused, nothing changed · 5 needs a person: an unfinished run, or an
undo that did not complete · 6 with --plan --exit-code: changes are pending · 130/143 interrupted, and undone
)";
}

}  // namespace deployrun::cli
