// C++ objects with a lifetime, as Lua userdata that share ownership. `close()` is the orderly way, `__gc` the net.
#pragma once

#include <lua.hpp>
#include <memory>
#include <new>
#include <string>

#include "core/error.hpp"
#include "lua/guard.hpp"

namespace deployrun::lua {

/// How Lua knows a type: specialise with `static constexpr const char* kName = "ssh.session";` and
/// `static constexpr luaL_Reg kMethods[] = {…, {nullptr, nullptr}};`
template <class T>
struct ObjectType;

template <class T>
void push_object(lua_State* L, std::shared_ptr<T> object) {
  using Handle = std::shared_ptr<T>;
  void* memory = lua_newuserdata(L, sizeof(Handle));
  new (memory) Handle(std::move(object));
  if (luaL_newmetatable(L, ObjectType<T>::kName) != 0) {
    lua_newtable(L);
    for (const luaL_Reg* method = ObjectType<T>::kMethods; method->name != nullptr; ++method) {
      lua_pushcfunction(L, method->func);
      // Metamethods are listed with the methods and go where Lua looks for them.
      lua_setfield(L, method->name[0] == '_' && method->name[1] == '_' ? -3 : -2, method->name);
    }
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, [](lua_State* state) {
      static_cast<Handle*>(lua_touserdata(state, 1))->~Handle();
      new (lua_touserdata(state, 1)) Handle();
      return 0;
    });
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_setmetatable(L, -2);
}

template <class T>
bool is_object(lua_State* L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || lua_getmetatable(L, index) == 0) return false;
  luaL_getmetatable(L, ObjectType<T>::kName);
  const bool same = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  return same;
}

/// Throws `usage` for another type.
template <class T>
std::shared_ptr<T> check_object(lua_State* L, int index) {
  if (!is_object<T>(L, index)) {
    throw core::Failure(core::usage("argument " + std::to_string(index) + ": expected a " + ObjectType<T>::kName +
                                    ", got " + luaL_typename(L, index)));
  }
  auto object = *static_cast<std::shared_ptr<T>*>(lua_touserdata(L, index));
  if (!object) throw core::Failure(core::usage(std::string(ObjectType<T>::kName) + " is closed"));
  return object;
}

/// The `close` of a type: Lua lets go of the object, and a later use is a usage error. Closing again does nothing.
template <class T>
int close_object(lua_State* L) {
  return guard(L, [L] {
    if (!is_object<T>(L, 1))
      throw core::Failure(core::usage(std::string("argument 1: expected a ") + ObjectType<T>::kName));
    static_cast<std::shared_ptr<T>*>(lua_touserdata(L, 1))->reset();
    return 0;
  });
}

}  // namespace deployrun::lua
