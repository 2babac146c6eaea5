#include "lua/environment.hpp"

#include <fstream>
#include <sstream>
#include <string>

#include "lua/guard.hpp"
#include "lua/stack.hpp"

namespace deployrun::lua {

namespace {

constexpr std::size_t kMaxSource = 4 << 20;

/// A module name is words joined by dots; anything else could climb out of the search folders.
bool plain_name(const std::string& name) {
  if (name.empty() || name.front() == '.' || name.back() == '.' || name.find("..") != std::string::npos) return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
         std::string::npos;
}

std::string as_path(std::string name) {
  for (char& c : name) {
    if (c == '.') c = '/';
  }
  return name;
}

bool read_source(const std::filesystem::path& path, std::string& out) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  if (std::filesystem::file_size(path, ignored) > kMaxSource) {
    throw core::Failure({.kind = "recipe.too_large", .message = path.string() + ": larger than 4 MiB"});
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  out = text.str();
  return static_cast<bool>(file);
}

/// Leaves the chunk, or raises what is wrong with it.
int push_chunk(lua_State* L, const std::string& source, const std::string& chunk_name) {
  if (load_text(L, source, chunk_name.c_str()) != 0) return lua_error(L);
  return 1;
}

int search_stdlib(lua_State* L) {
  return guard(L, [L] {
    const std::string name = check_string(L, 1);
    const RuntimeOptions& options = runtime(L).options();
    const std::string wanted = as_path(name) + ".lua";
    if (!options.stdlib_folder.empty()) {
      std::string source;
      if (plain_name(name) && read_source(options.stdlib_folder / wanted, source)) {
        return push_chunk(L, source, "@stdlib/" + wanted);
      }
    } else {
      for (const EmbeddedFile& file : options.stdlib) {
        if (file.path == wanted) return push_chunk(L, std::string(file.source), "@stdlib/" + wanted);
      }
    }
    push_string(L, "\n\tno stdlib module '" + name + "'");
    return 1;
  });
}

int search_recipe(lua_State* L) {
  return guard(L, [L] {
    const std::string name = check_string(L, 1);
    const std::filesystem::path& root = runtime(L).options().recipe_folder;
    if (!plain_name(name)) {
      push_string(L, "\n\t'" + name + "' is not a module name (words joined by dots)");
      return 1;
    }
    std::string tried;
    for (const char* folder : {"", "lib", "lua_modules/share/lua/5.1"}) {
      for (const char* ending : {".lua", "/init.lua"}) {
        const std::filesystem::path path = root / folder / (as_path(name) + ending);
        std::string source;
        if (read_source(path, source)) return push_chunk(L, source, "@" + path.lexically_normal().string());
        tried += "\n\tno file '" + path.lexically_normal().string() + "'";
      }
    }
    push_string(L, tried);
    return 1;
  });
}

int load_chunk(lua_State* L) {
  // load(text | function, name, mode, env): always mode "t"; bytecode is unsafe by LuaJIT's own word.
  lua_settop(L, 4);
  const bool has_env = !lua_isnil(L, 4);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_pushliteral(L, "t");
  if (has_env) lua_pushvalue(L, 4);
  lua_call(L, has_env ? 4 : 3, LUA_MULTRET);
  return lua_gettop(L) - 4;
}

/// loadfile and dofile, reading text only.
int load_path(lua_State* L) {
  return guard(L, [L] {
    const std::string path = check_string(L, 1);
    std::string source;
    if (!read_source(path, source)) {
      lua_pushnil(L);
      push_string(L, "cannot open " + path);
      return 2;
    }
    if (load_text(L, source, ("@" + path).c_str()) == 0) return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  });
}

int do_path(lua_State* L) {
  lua_settop(L, 1);
  lua_pushcfunction(L, load_path);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 2);
  if (lua_isnil(L, 2)) return lua_error(L);
  lua_settop(L, 2);
  lua_call(L, 0, LUA_MULTRET);
  return lua_gettop(L) - 1;
}

int undeclared(lua_State* L) {
  const char* name = lua_tostring(L, 2);
  const bool writing = lua_gettop(L) > 2;
  core::Error error{.kind = "recipe.global",
                    .message = std::string(writing ? "assignment to" : "use of") + " undeclared global `" +
                               (name != nullptr ? name : "?") + "`",
                    .hint = writing ? "write `local` before it" : "is it misspelt, or a module that was not required?"};
  if (name != nullptr) error.details["token"] = std::string(name);
  lua_Debug frame;
  if (lua_getstack(L, 1, &frame) != 0 && lua_getinfo(L, "Sl", &frame) != 0 && frame.source[0] == '@') {
    error.details["where"] = std::string(frame.source + 1) + ":" + std::to_string(frame.currentline);
  }
  push_error(L, error);
  return lua_error(L);
}

void open_library(lua_State* L, const char* name, lua_CFunction open) {
  lua_pushcfunction(L, open);
  lua_pushstring(L, name);
  lua_call(L, 1, 0);
}

void remove_fields(lua_State* L, const char* table, std::initializer_list<const char*> names) {
  lua_getglobal(L, table);
  for (const char* name : names) {
    lua_pushnil(L);
    lua_setfield(L, -2, name);
  }
  lua_pop(L, 1);
}

void set_searchers(lua_State* L) {
  lua_getglobal(L, "package");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "path");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "cpath");
  lua_pushnil(L);
  lua_setfield(L, -2, "loadlib");
  lua_getfield(L, -1, "loaders");
  for (int i = static_cast<int>(lua_objlen(L, -1)); i > 1; --i) {  // the first one looks in package.preload
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  lua_pushcfunction(L, search_stdlib);
  lua_rawseti(L, -2, 2);
  lua_pushcfunction(L, search_recipe);
  lua_rawseti(L, -2, 3);
  lua_pop(L, 2);
}

}  // namespace

int load_text(lua_State* L, std::string_view source, const char* name) {
  return luaL_loadbufferx(L, source.data(), source.size(), name, "t");
}

void open_environment(lua_State* L, const RuntimeOptions& options) {
  open_library(L, "", luaopen_base);
  open_library(L, LUA_LOADLIBNAME, luaopen_package);
  open_library(L, LUA_TABLIBNAME, luaopen_table);
  open_library(L, LUA_STRLIBNAME, luaopen_string);
  open_library(L, LUA_MATHLIBNAME, luaopen_math);
  open_library(L, LUA_IOLIBNAME, luaopen_io);
  open_library(L, LUA_OSLIBNAME, luaopen_os);
  open_library(L, LUA_BITLIBNAME, luaopen_bit);
  open_library(L, LUA_JITLIBNAME, luaopen_jit);  // switches the compiler on
  // Compiled code cannot be stopped (watchdog.hpp), and nothing here computes enough to be worth it.
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  if (options.unsafe) {
    open_library(L, LUA_DBLIBNAME, luaopen_debug);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_ffi);
    lua_setfield(L, -2, LUA_FFILIBNAME);
    lua_pop(L, 2);
  } else {
    remove_fields(L, "os", {"execute", "exit", "setlocale", "tmpname"});
    remove_fields(L, "io", {"popen", "tmpfile"});
    remove_fields(L, "string", {"dump"});
    remove_fields(L, "_G", {"newproxy", "getfenv", "setfenv", "jit", "collectgarbage"});
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    for (const char* name : {"jit", "jit.util", "jit.opt", "jit.profile", "debug", "ffi"}) {
      lua_pushnil(L);
      lua_setfield(L, -2, name);
    }
    lua_pop(L, 2);
  }
  lua_getglobal(L, "load");
  lua_pushcclosure(L, load_chunk, 1);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "load");
  lua_setglobal(L, "loadstring");
  lua_pushcfunction(L, load_path);
  lua_setglobal(L, "loadfile");
  lua_pushcfunction(L, do_path);
  lua_setglobal(L, "dofile");
  set_searchers(L);

  lua_getglobal(L, "_G");
  lua_newtable(L);
  lua_pushcfunction(L, undeclared);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

}  // namespace deployrun::lua
