// SQL values and rows as Lua's: the same for a database of this machine and for one behind an agent.
#pragma once

#include <lua.hpp>

#include "sqlite/rows.hpp"

namespace deployrun::bindings {

/// Leaves { { column = value }, …, changes = n }.
void push_rows(lua_State* L, const sqlite::Rows& found);
/// An array or a table by names; none where it is absent. Throws `usage`.
sqlite::Values check_values(lua_State* L, int index);

}  // namespace deployrun::bindings
