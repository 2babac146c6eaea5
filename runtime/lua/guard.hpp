// The one place where a C++ failure becomes a Lua error. Inside, C++ objects may be alive when a Lua error passes:
// LuaJIT unwinds through C++ and their destructors run (tests/unit/lua/guard_test.cpp). Never catch (...) around a Lua
// call.
#pragma once

#include <exception>
#include <lua.hpp>
#include <utility>

#include "lua/error.hpp"

namespace deployrun::lua {

/// Runs `body` (which returns the number of results) and raises what it throws after every C++ object of it is gone.
template <class Body>
int guard(lua_State* L, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const core::Failure& failure) {
    push_error(L, failure.error());
  } catch (const std::exception& failure) {
    push_error(L, {.kind = "internal", .message = failure.what()});
  }
  return lua_error(L);
}

}  // namespace deployrun::lua
