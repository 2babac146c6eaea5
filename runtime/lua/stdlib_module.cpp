#include "lua/stdlib_module.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/runtime.hpp"
#include "lua/stack.hpp"

namespace deployrun::lua {

namespace {

/// files() → { "deploy.lua", "deploy/app.lua", … }, sorted: of the folder that is used instead, if one is.
int files(lua_State* L) {
  return guard(L, [L] {
    const RuntimeOptions& options = runtime(L).options();
    std::vector<std::string> names;
    if (options.stdlib_folder.empty()) {
      for (const EmbeddedFile& file : options.stdlib) names.emplace_back(file.path);
    } else {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(options.stdlib_folder)) {
        if (entry.is_regular_file()) names.push_back(entry.path().lexically_relative(options.stdlib_folder).string());
      }
    }
    std::sort(names.begin(), names.end());
    push_strings(L, names);
    return 1;
  });
}

/// source(name) → text, or nil.
int source(lua_State* L) {
  return guard(L, [L] {
    const std::string name = check_string(L, 1);
    const RuntimeOptions& options = runtime(L).options();
    if (!options.stdlib_folder.empty() && name.find("..") == std::string::npos) {
      if (std::ifstream file(options.stdlib_folder / name, std::ios::binary); file) {
        std::ostringstream text;
        text << file.rdbuf();
        push_string(L, text.str());
        return 1;
      }
    }
    // What is compiled in besides Lua (the list of components) is in no folder.
    const auto found = std::find_if(options.stdlib.begin(), options.stdlib.end(),
                                    [&name](const EmbeddedFile& file) { return file.path == name; });
    if (found == options.stdlib.end()) {
      lua_pushnil(L);
    } else {
      push_string(L, found->source);
    }
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"files", files}, {"source", source}, {nullptr, nullptr}};

}  // namespace

int open_stdlib(lua_State* L) { return export_table(L, kFunctions); }

}  // namespace deployrun::lua
