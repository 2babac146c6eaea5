// JSON values as Lua values and back. The one rule for both directions, used by every module that speaks JSON.
#pragma once

#include <lua.hpp>
#include <string>

#include "json/json.hpp"

namespace deployrun::bindings {

using json::Json;

/// Leaves one value. Arrays carry the array mark (an empty one stays an array on its way back). Integers beyond 2^53
/// lose their last digits: Lua's numbers are doubles. Nulls in arrays become `json.null`; members that are null are
/// left out, unless `keep_null`.
void push_json(lua_State* L, const Json& value, bool keep_null = false);

/// Reads a value. A table is an array when it is marked or its keys are 1..n, else an object; an empty table is an
/// object. A Secret becomes its name in brackets. Throws Failure (`usage`) naming the place, as in
/// "result.items[2].run: a function …", for what JSON cannot hold: functions, other userdata, NaN, mixed keys, cycles,
/// more than 64 levels or 10^6 values.
Json to_json(lua_State* L, int index, const std::string& what = "value");

/// Marks the table on top as an array.
void mark_array(lua_State* L);

}  // namespace deployrun::bindings
