#include "bindings/sqlite_values.hpp"

#include "bindings/value.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

using sqlite::Value;

void push_value(lua_State* L, const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    lua_pushnumber(L, static_cast<lua_Number>(*integer));
  } else if (const auto* number = std::get_if<double>(&value)) {
    lua_pushnumber(L, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    lua::push_string(L, *text);
  } else {
    lua_pushnil(L);
  }
}

Value value_of(const Json& json) {
  if (json.is_null()) return nullptr;
  if (json.is_boolean()) return std::int64_t{json.get<bool>() ? 1 : 0};
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  throw core::Failure(core::usage("sqlite: a value is a text, a number, true, false or json.null"));
}

}  // namespace

void push_rows(lua_State* L, const sqlite::Rows& found) {
  lua_createtable(L, static_cast<int>(found.rows.size()), 1);
  int position = 0;
  for (const auto& row : found.rows) {
    lua_createtable(L, 0, static_cast<int>(row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      lua::push_string(L, found.columns[i]);
      push_value(L, row[i]);
      lua_rawset(L, -3);
    }
    lua_rawseti(L, -2, ++position);
  }
  lua::set_field(L, "changes", static_cast<double>(found.changes));
}

sqlite::Values check_values(lua_State* L, int index) {
  if (lua_isnoneornil(L, index)) return std::vector<Value>{};
  const Json given = to_json(L, index, "values");
  if (given.is_array()) {
    std::vector<Value> list;
    for (const Json& each : given) list.push_back(value_of(each));
    return list;
  }
  if (!given.is_object()) lua::wrong_argument(L, index, "a table of values");
  std::vector<std::pair<std::string, Value>> named;
  for (const auto& [name, each] : given.items()) named.emplace_back(name, value_of(each));
  if (named.empty()) return std::vector<Value>{};
  return named;
}

}  // namespace deployrun::bindings
