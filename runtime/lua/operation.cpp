#include "lua/operation.hpp"

#include <new>

namespace deployrun::lua {

namespace {

constexpr char kType[] = "deployrun.operation";
using Slot = std::unique_ptr<Pending>;

Slot* slot(lua_State* L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || lua_getmetatable(L, index) == 0) return nullptr;
  luaL_getmetatable(L, kType);
  const bool same = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  return same ? static_cast<Slot*>(lua_touserdata(L, index)) : nullptr;
}

}  // namespace

int push_pending(lua_State* L, std::unique_ptr<Pending> pending) {
  new (lua_newuserdata(L, sizeof(Slot))) Slot(std::move(pending));
  if (luaL_newmetatable(L, kType) != 0) {
    lua_pushcfunction(L, [](lua_State* state) {
      static_cast<Slot*>(lua_touserdata(state, 1))->reset();
      return 0;
    });
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_setmetatable(L, -2);
  return 1;
}

std::unique_ptr<Pending> take_pending(lua_State* L, int index) {
  Slot* found = slot(L, index);
  return found != nullptr ? std::move(*found) : nullptr;
}

bool is_pending(lua_State* L, int index) {
  const Slot* found = slot(L, index);
  return found != nullptr && *found != nullptr;
}

}  // namespace deployrun::lua
