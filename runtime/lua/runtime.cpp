#include "lua/runtime.hpp"

#include <fstream>
#include <sstream>

#include "lua/environment.hpp"
#include "lua/error.hpp"
#include "lua/error_module.hpp"
#include "lua/stdlib_module.hpp"
#include "lua/task_module.hpp"

namespace deployrun::lua {

namespace {

// The address is the registry key: no other library can have chosen the same.
const char kRuntimeKey = 0;

/// "recipes/x.lua:12: unexpected symbol near 'foo'" → where with the column of the token, and the message alone.
core::Error syntax_error(const std::filesystem::path& path, const std::string& text) {
  core::Error error{.kind = "recipe.syntax", .message = text};
  const std::string prefix = path.string() + ":";
  if (text.rfind(prefix, 0) != 0) return error;
  std::size_t end = prefix.size();
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  const int line = std::atoi(text.substr(prefix.size(), end - prefix.size()).c_str());
  if (end < text.size()) error.message = text.substr(std::min(end + 2, text.size()));
  std::string where = prefix + std::to_string(line);
  const auto near = error.message.rfind("near '");
  if (near != std::string::npos) {
    const std::string token = error.message.substr(near + 6, error.message.size() - near - 7);
    if (const std::size_t column = column_of(path, line, token)) where += ":" + std::to_string(column);
  }
  error.details["where"] = where;
  return error;
}

}  // namespace

std::size_t column_of(const std::filesystem::path& path, int line, const std::string& word) {
  std::ifstream file(path);
  std::string text;
  for (int i = 0; i < line; ++i) {
    if (!std::getline(file, text)) return 0;
  }
  const auto found = text.find(word);
  return word.empty() || found == std::string::npos ? 0 : found + 1;
}

Runtime::Runtime(core::Loop& loop, RuntimeOptions options)
    : loop_(loop), options_(std::move(options)), L_(luaL_newstate()) {
  if (L_ == nullptr) throw std::bad_alloc();
  lua_pushlightuserdata(L_, const_cast<char*>(&kRuntimeKey));
  lua_pushlightuserdata(L_, this);
  lua_rawset(L_, LUA_REGISTRYINDEX);
  scheduler_ = std::make_unique<Scheduler>(loop_, L_, options_.stuck_after);
  open_errors(L_);
  open_environment(L_, options_);
  lua_getglobal(L_, "package");
  lua_getfield(L_, -1, "preload");
  lua_pushcfunction(L_, open_task);
  lua_setfield(L_, -2, "native.task.raw");
  lua_pushcfunction(L_, open_fail);
  lua_setfield(L_, -2, "native.fail.raw");
  lua_pushcfunction(L_, open_stdlib);
  lua_setfield(L_, -2, "native.stdlib.raw");
  for (const NativeModule& module : options_.modules) {
    lua_pushcfunction(L_, module.open);
    lua_setfield(L_, -2, module.name);
  }
  lua_pop(L_, 2);
}

Runtime::~Runtime() {
  scheduler_->abandon();
  lua_close(L_);
  scheduler_->vm_closed();
}

Runtime& runtime(lua_State* L) {
  lua_pushlightuserdata(L, const_cast<char*>(&kRuntimeKey));
  lua_rawget(L, LUA_REGISTRYINDEX);
  auto* found = static_cast<Runtime*>(lua_touserdata(L, -1));
  lua_pop(L, 1);
  return *found;
}

core::Result<core::Unit> Runtime::load_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path, ignored)) {
    return core::Error{.kind = "recipe.not_found",
                       .message = path.string() + ": cannot be read",
                       .hint = "name a recipe file, for example recipes/prod.lua"};
  }
  std::ostringstream source;
  source << file.rdbuf();
  const std::string text = source.str();
  if (load_text(L_, text, ("@" + path.string()).c_str()) != 0) {
    const std::string message = lua_tostring(L_, -1);
    lua_pop(L_, 1);
    return syntax_error(path, message);
  }
  return core::Unit{};
}

core::Result<std::shared_ptr<LuaTask>> Runtime::start(const std::string& module, const std::string& function,
                                                      int arguments) {
  const int base = lua_gettop(L_) - arguments;
  lua_getglobal(L_, "require");
  lua_pushlstring(L_, module.data(), module.size());
  if (lua_pcall(L_, 1, 1, 0) != 0) {
    core::Error error = to_error(L_, -1);
    lua_settop(L_, base);
    return error;
  }
  lua_getfield(L_, -1, function.c_str());
  lua_remove(L_, -2);
  if (!lua_isfunction(L_, -1)) {
    lua_settop(L_, base);
    return core::Error{.kind = "internal", .message = module + "." + function + " is no function"};
  }
  lua_insert(L_, base + 1);
  return scheduler_->spawn(L_, arguments, nullptr, {.name = function, .deadline = {}, .shielded = false});
}

}  // namespace deployrun::lua
