#include "lua/error_module.hpp"

#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/runtime.hpp"
#include "lua/stack.hpp"

namespace deployrun::lua {

namespace {

/// raise({ kind, message, … }): never returns.
int raise(lua_State* L) {
  return guard(L, [L]() -> int {
    check_table(L, 1);
    throw core::Failure(to_error(L, 1));
  });
}

/// make({ kind, message, … }) → the error table, not raised.
int make(lua_State* L) {
  return guard(L, [L] {
    check_table(L, 1);
    push_error(L, to_error(L, 1));
    return 1;
  });
}

/// normal(value) → an error table, whatever was raised: text becomes kind `recipe`.
int normal(lua_State* L) {
  return guard(L, [L] {
    push_error(L, to_error(L, 1));
    return 1;
  });
}

/// where() → "file:line" of the nearest caller that is not part of the stdlib, or nil.
int where(lua_State* L) {
  return guard(L, [L] {
    const std::string place = caller(L);
    if (place.empty()) {
      lua_pushnil(L);
    } else {
      push_string(L, place);
    }
    return 1;
  });
}

/// column(path, line, word) → 1-based column, or nil.
int column(lua_State* L) {
  return guard(L, [L] {
    const std::size_t found = column_of(check_string(L, 1), static_cast<int>(check_integer(L, 2)), check_string(L, 3));
    if (found == 0) {
      lua_pushnil(L);
    } else {
      lua_pushnumber(L, static_cast<lua_Number>(found));
    }
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"raise", raise},   {"make", make},   {"normal", normal},
                                   {"column", column}, {"where", where}, {nullptr, nullptr}};

}  // namespace

int open_fail(lua_State* L) { return export_table(L, kFunctions); }

}  // namespace deployrun::lua
