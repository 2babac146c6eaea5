// What the files of the docker binding share: the client they are methods of, and how an operation becomes Lua's.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "bindings/value.hpp"
#include "docker/client.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

// The client's methods, by what they are about; each ends with {nullptr, nullptr}.
extern const luaL_Reg kImageCalls[];
extern const luaL_Reg kContainerCalls[];
extern const luaL_Reg kOutputCalls[];
extern const luaL_Reg kNetworkCalls[];
extern const luaL_Reg kArchiveCalls[];
extern const luaL_Reg kSystemCalls[];

// The module's functions that need no client.
extern const luaL_Reg kImageFunctions[];
extern const luaL_Reg kContainerFunctions[];

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<docker::Client> {
  static constexpr const char* kName = "docker.client";
  static const luaL_Reg* const kMethods;
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

/// The client that a method was called on.
inline docker::ClientPtr docker_self(lua_State* L) { return lua::check_object<docker::Client>(L, 1); }

inline int push_op(lua_State* L, docker::Op<Json> operation) {
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, const Json& value) { push_json(state, value); });
}
inline int push_op(lua_State* L, docker::Op<core::Unit> operation) {
  return lua::push_operation(L, std::move(operation), lua::push_unit);
}
inline int push_op(lua_State* L, docker::Op<bool> operation) {
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, bool value) { lua_pushboolean(state, value ? 1 : 0); });
}
inline int push_op(lua_State* L, docker::Op<std::string> operation) {
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, const std::string& text) { lua::push_string(state, text); });
}

/// The engine counts in seconds: a started one is a whole one.
inline std::optional<std::chrono::seconds> whole_seconds(std::optional<core::Milliseconds> duration) {
  if (!duration) return {};
  return std::chrono::ceil<std::chrono::seconds>(*duration);
}

}  // namespace deployrun::bindings
