// One Lua VM with its guarded environment, its modules and its scheduler. Nothing here is global: two runtimes can live
// side by side in one process (the tests do that).
#pragma once

#include <chrono>
#include <filesystem>
#include <lua.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/result.hpp"
#include "lua/embedded.hpp"
#include "lua/scheduler.hpp"

namespace deployrun::lua {

/// A native module: `name` as required ("native.http.raw"), `open` leaves its table.
struct NativeModule {
  const char* name;
  lua_CFunction open;
};

struct RuntimeOptions {
  std::vector<EmbeddedFile> stdlib;
  std::filesystem::path stdlib_folder;  ///< used instead of the embedded files when not empty
  std::vector<NativeModule> modules;
  std::filesystem::path recipe_folder;  ///< where a recipe's own `require` looks, with lib/ and lua_modules/ below it
  bool unsafe = false;                  ///< ffi, debug, io.popen, os.execute stay
  std::chrono::milliseconds stuck_after{5'000};  ///< CPU time that Lua may take without waiting; zero: no limit
  void* user = nullptr;                          ///< whatever the bindings need; not owned
};

class Runtime {
 public:
  Runtime(core::Loop& loop, RuntimeOptions options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  lua_State* state() noexcept { return L_; }
  core::Loop& loop() noexcept { return loop_; }
  Scheduler& scheduler() noexcept { return *scheduler_; }
  const RuntimeOptions& options() const noexcept { return options_; }

  /// Compiles a file as text (bytecode is refused) and leaves the function on the stack.
  /// Errors: `recipe.not_found`, `recipe.syntax` with details `where` = "file:line:column".
  core::Result<core::Unit> load_file(const std::filesystem::path& path);
  /// Starts `require(module)[function](...)` with the `arguments` values on top of the stack as a root task.
  core::Result<std::shared_ptr<LuaTask>> start(const std::string& module, const std::string& function, int arguments);

 private:
  core::Loop& loop_;
  RuntimeOptions options_;
  lua_State* L_;
  std::unique_ptr<Scheduler> scheduler_;
};

/// The runtime that a state (or any coroutine of it) belongs to.
Runtime& runtime(lua_State* L);

/// Where in `line` of `path` the word stands, as 1-based column; 0 when it cannot be told.
std::size_t column_of(const std::filesystem::path& path, int line, const std::string& word);

}  // namespace deployrun::lua
