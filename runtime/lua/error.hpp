// Errors cross between C++ and Lua as tables, never as strings: { kind, message, host, step, hint, cause, also } plus
// what the kind carries. Both directions keep everything; anything else raised in Lua becomes kind `recipe`.
#pragma once

#include <lua.hpp>

#include "core/error.hpp"

namespace deployrun::lua {

/// Leaves the error table on the stack. A `usage` error gets `where` = "file:line" of the nearest caller outside the
/// stdlib.
void push_error(lua_State* L, const core::Error& error);

/// Reads what was raised. A table with `kind` comes back whole; text becomes `recipe` with its "file:line" as `where`.
/// `traceback` (may be empty) is kept in the details of a `recipe` error only.
core::Error to_error(lua_State* L, int index, const std::string& traceback = {});

/// "file:line" of the nearest caller that is not part of the stdlib; empty when there is none.
std::string caller(lua_State* L);

/// Registers the error metatable (`__tostring`: kind, message, host). Once per VM.
void open_errors(lua_State* L);

}  // namespace deployrun::lua
