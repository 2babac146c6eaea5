// Reads one options table: every key is asked for once, then `finish` refuses whatever was not asked for, by name.
#pragma once

#include <lua.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"

namespace deployrun::lua {

/// Throws core::Failure (`usage`): "docker.create: option `imgae` is unknown" with hint "did you mean `image`?".
/// Nil stands for an empty table. Durations are numbers of milliseconds here; faces turn "10m" into them.
class Options {
 public:
  Options(lua_State* L, int index, std::string what);

  std::optional<std::string> string(const char* key);
  std::optional<std::int64_t> integer(const char* key);
  std::optional<double> number(const char* key);
  std::optional<bool> boolean(const char* key);
  std::optional<core::Milliseconds> milliseconds(const char* key);
  std::optional<std::vector<std::string>> strings(const char* key);
  std::optional<std::map<std::string, std::string>> string_map(const char* key);
  /// Pushes the raw value (nil when absent) for whoever knows its type; true when it was there. The caller pops it.
  bool push(const char* key);

  std::string require_string(const char* key);
  void finish();

 private:
  /// Pushes the value of `key`; false (nothing left on the stack) when absent.
  bool take(const char* key);
  [[noreturn]] void wrong(const char* key, const char* expected);

  lua_State* L_;
  int index_;  // 0 when the table is absent
  std::string what_;
  std::vector<std::string> known_;
};

}  // namespace deployrun::lua
