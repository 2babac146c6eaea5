// `native.json.raw`: text to values and back.
#include "json/json.hpp"

#include "bindings/value.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

int decode(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string text = lua::check_string(L, 1);
    lua::Options options(L, 2, "json.decode");
    const std::string source = options.string("source").value_or("");
    const bool keep_null = options.boolean("null").value_or(false);
    options.finish();
    auto value = json::parse(text, {}, source);
    if (!value) throw core::Failure(std::move(value).error());
    push_json(L, *value, keep_null);
    return 1;
  });
}

int encode(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "json.encode");
    const bool pretty = options.boolean("pretty").value_or(false);
    options.finish();
    lua::push_string(L, json::dump(to_json(L, 1), pretty));
    return 1;
  });
}

int array(lua_State* L) {
  return lua::guard(L, [L] {
    if (lua_isnoneornil(L, 1)) {
      lua_settop(L, 0);
      lua_newtable(L);
    }
    lua::check_table(L, 1);
    lua_settop(L, 1);
    mark_array(L);
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"decode", decode}, {"encode", encode}, {"array", array}, {nullptr, nullptr}};

}  // namespace

int open_json(lua_State* L) {
  lua::export_table(L, kFunctions);
  lua_pushlightuserdata(L, nullptr);
  lua_setfield(L, -2, "null");
  return 1;
}

}  // namespace deployrun::bindings
