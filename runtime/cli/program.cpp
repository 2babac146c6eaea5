#include "cli/program.hpp"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "cli/context.hpp"
#include "cli/execute.hpp"
#include "cli/identity.hpp"
#include "cli/options.hpp"
#include "core/hardening.hpp"
#include "lua/stack.hpp"

namespace deployrun::cli {

namespace {

void push_info(lua_State* L, const std::string& recipe) {
  const Identity who = identity();
  lua_newtable(L);
  lua::set_field(L, "recipe", recipe);
  lua::set_field(L, "user", who.user);
  lua::set_field(L, "host", who.host);
  lua::set_field(L, "actor", who.actor);
  lua::set_field(L, "version", DEPLOYRUN_VERSION);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int run_recipe(const Options& options) {
  World world(options);
  const int code =
      execute(world, options, "deploy.main", "main", [&options](lua::Runtime& runtime) -> core::Result<int> {
        lua_State* L = runtime.state();
        // Help is given although the recipe is wrong: deploy.main reads it by itself then.
        if (!options.help) {
          auto loaded = runtime.load_file(options.recipe);
          if (!loaded.ok()) return std::move(loaded).error();
        }
        lua_newtable(L);
        if (!options.help) {
          lua_insert(L, -2);
          lua_setfield(L, -2, "chunk");
        }
        lua::set_field(L, "recipe", options.recipe.string());
        lua::set_field(L, "source", read_text(options.recipe));
        lua::push_strings(L, options.words);
        lua_setfield(L, -2, "words");
        lua::set_flag(L, "quiet", options.verbosity < 0);
        lua::set_flag(L, "verbose", options.verbosity > 0);
        lua::set_field(L, "mode",
                       options.mode == Mode::resume  ? "resume"
                       : options.mode == Mode::abort ? "abort"
                                                     : "run");
        lua::set_flag(L, "force", options.force);
        lua::set_flag(L, "help", options.help);
        if (options.help) lua::set_field(L, "help_text", help_text(*options.command));
        lua::set_flag(L, "plan", options.plan);
        lua::set_flag(L, "exit_code", options.exit_code);
        lua::set_field(L, "record", options.record);
        lua::set_field(L, "report", options.report);
        lua::set_field(L, "lock_wait", options.lock_wait);
        push_info(L, options.recipe.lexically_normal().string());
        lua_setfield(L, -2, "info");
        return 1;
      });
  world.flush();
  return code;
}

/// The table as Lua's own commands need it: { { name, words, help, options = { { name, letter, value, choices, help } }
/// } }.
void push_table(lua_State* L) {
  lua_newtable(L);
  int row_number = 0;
  for (const CommandRow& row : commands()) {
    lua_newtable(L);
    lua::set_field(L, "name", row.name);
    lua::set_field(L, "words", row.words);
    lua::set_field(L, "help", row.help);
    lua_newtable(L);
    int option_number = 0;
    for (const OptionRow& option : options()) {
      if (!belongs(option, row.name)) continue;
      lua_newtable(L);
      lua::set_field(L, "name", option.name);
      if (option.letter != nullptr) lua::set_field(L, "letter", option.letter);
      if (option.value != nullptr) lua::set_field(L, "value", option.value);
      if (option.choices != nullptr) lua::set_field(L, "choices", option.choices);
      lua::set_field(L, "help", option.help);
      lua_rawseti(L, -2, ++option_number);
    }
    lua_setfield(L, -2, "options");
    lua_rawseti(L, -2, ++row_number);
  }
}

int run_lua_once(const Options& options) {
  World world(options);
  const int code =
      execute(world, options, options.command->module, "main", [&options](lua::Runtime& runtime) -> core::Result<int> {
        lua_State* L = runtime.state();
        lua_newtable(L);
        lua::push_strings(L, options.words);
        lua_setfield(L, -2, "words");
        lua::push_string_map(L, options.given);
        lua_setfield(L, -2, "options");
        push_table(L);
        lua_setfield(L, -2, "commands");
        lua::set_field(L, "help_text", help_text());
        lua::set_field(L, "folder", std::filesystem::current_path().string());
        lua::set_flag(L, "json", options.json);
        lua::set_flag(L, "terminal", isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0);
        push_info(L, options.recipe.lexically_normal().string());
        lua_setfield(L, -2, "info");
        return 1;
      });
  world.flush();
  return code;
}

/// A command of ours that is written in Lua; one about several recipes runs for each of them in a VM of its own.
int run_lua(const Options& options) {
  if (!std::string_view(options.command->words).starts_with("RECIPE")) return run_lua_once(options);
  int worst = 0;
  for (const std::string& word : options.words) {
    Options one = options;
    one.words = {word};
    one.recipe = word;
    worst = std::max(worst, run_lua_once(one));
  }
  return worst;
}

int print_version(const Options& options) {
  std::printf("deployrun %s\n", DEPLOYRUN_VERSION);
  if (options.verbosity < 1) return 0;
  std::fflush(stdout);
  const auto commands_table = commands();
  const auto sbom = std::find_if(commands_table.begin(), commands_table.end(),
                                 [](const CommandRow& row) { return std::string_view(row.name) == "sbom"; });
  Options listing = options;
  listing.command = &*sbom;
  listing.words = {"list"};
  return run_lua(listing);
}

/// Every file in a VM of its own, so that no spec sees another's leavings.
int run_specs(const Options& options) {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> words = options.words;
  if (words.empty()) words.emplace_back("tests");
  for (const std::string& word : words) {
    if (!std::filesystem::is_directory(word)) {
      files.emplace_back(word);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(word)) {
      if (entry.path().filename().string().ends_with("_test.lua")) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  int passed = 0;
  int failed = 0;
  for (const auto& file : files) {
    Options one = options;
    one.recipe = file;
    World world(one);
    const auto prepare = [&one](lua::Runtime& runtime) -> core::Result<int> {
      auto loaded = runtime.load_file(one.recipe);
      if (!loaded.ok()) return std::move(loaded).error();
      lua::push_string(runtime.state(), one.recipe.string());
      return 2;
    };
    const auto finish = [&passed, &failed](lua_State* L) {
      lua_getfield(L, -1, "passed");
      lua_getfield(L, -2, "failed");
      passed += static_cast<int>(lua_tointeger(L, -2));
      const int wrong = static_cast<int>(lua_tointeger(L, -1));
      failed += wrong;
      lua_pop(L, 2);
      return wrong == 0 ? 0 : -1;
    };
    const int code = execute(world, one, "test", "main", prepare, finish);
    if (code > 0) ++failed;  // it could not even begin
    world.flush();
  }
  std::printf("%d passed, %d failed, 0 skipped\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace

int run_program(int argc, char** argv) {
  core::keep_memory_private();
  // The pieces of a transfer are taken and given back all the time: not from and to the kernel, page by page.
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
  quit_on_signals();
  signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an ordinary error of its write
  const auto parsed = parse_options(argc, argv);
  if (!parsed.ok()) {
    World world{Options{}};
    world.report_error(parsed.error());
    return 2;
  }
  if (parsed->command == nullptr) {
    std::fputs(help_text().c_str(), stdout);
    return argc > 1 ? 0 : 2;
  }
  if (parsed->help && parsed->command->entry != Entry::recipe) {
    std::fputs(help_text(*parsed->command).c_str(), stdout);
    return 0;
  }
  switch (parsed->command->entry) {
    case Entry::version: return print_version(*parsed);
    case Entry::recipe: return run_recipe(*parsed);
    case Entry::specs: return run_specs(*parsed);
    case Entry::lua: return run_lua(*parsed);
  }
  return 2;
}

}  // namespace deployrun::cli
