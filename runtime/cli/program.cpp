#include "cli/program.hpp"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "cli/context.hpp"
#include "cli/execute.hpp"
#include "cli/identity.hpp"
#include "cli/options.hpp"
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
        auto loaded = runtime.load_file(options.recipe);
        if (!loaded.ok()) return std::move(loaded).error();
        lua_newtable(L);
        lua_insert(L, -2);
        lua_setfield(L, -2, "chunk");
        lua::set_field(L, "recipe", options.recipe.string());
        lua::set_field(L, "source", read_text(options.recipe));
        lua::push_strings(L, options.words);
        lua_setfield(L, -2, "words");
        lua::set_field(L, "mode",
                       options.mode == Mode::resume  ? "resume"
                       : options.mode == Mode::abort ? "abort"
                                                     : "run");
        lua::set_flag(L, "force", options.force);
        lua::set_flag(L, "help", options.help);
        lua::set_flag(L, "plan", options.plan);
        lua::set_flag(L, "exit_code", options.exit_code);
        lua::set_field(L, "record", options.record);
        push_info(L, options.recipe.lexically_normal().string());
        lua_setfield(L, -2, "info");
        return 1;
      });
  world.flush();
  return code;
}

int run_history(const Options& options) {
  World world(options);
  const int code =
      execute(world, options, "deploy.history", "main", [&options](lua::Runtime& runtime) -> core::Result<int> {
        lua_State* L = runtime.state();
        lua_newtable(L);
        lua::set_field(L, "limit", static_cast<double>(options.limit));
        lua::set_flag(L, "json", options.json);
        push_info(L, "");
        lua_setfield(L, -2, "info");
        return 1;
      });
  world.flush();
  return code;
}

/// Every file in a VM of its own, so that no spec sees another's leavings.
int run_specs(const Options& options) {
  std::vector<std::filesystem::path> files;
  for (const std::string& word : options.words) {
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
  quit_on_signals();
  signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an ordinary error of its write
  const auto parsed = parse_options(argc, argv);
  if (!parsed.ok()) {
    World world{Options{}};
    world.report_error(parsed.error());
    return 2;
  }
  switch (parsed->command) {
    case Command::version: std::printf("deployrun %s\n", DEPLOYRUN_VERSION); return 0;
    case Command::help: std::fputs(help_text().c_str(), stdout); return argc > 1 ? 0 : 2;
    case Command::history: return run_history(*parsed);
    case Command::test: return run_specs(*parsed);
    case Command::recipe: return run_recipe(*parsed);
  }
  return 2;
}

}  // namespace deployrun::cli
