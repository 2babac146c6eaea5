// `native.lock.raw`: deploy locks of this machine.
#include "lock/call.hpp"

#include "bindings/context.hpp"
#include "bindings/value.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

int call(lua_State* L);
int close_keeper(lua_State* L) { return lua::close_object<lock::Keeper>(L); }

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<lock::Keeper> {
  static constexpr const char* kName = "lock.keeper";
  static constexpr luaL_Reg kMethods[] = {
      {"call", bindings::call}, {"close", bindings::close_keeper}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

/// call(method, params): what it gives, as JSON is in Lua.
int call(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<lock::Keeper>(L, 1);
    return lua::push_operation(L, lock::call(context(L).loop, self, lua::check_string(L, 2), to_json(L, 3, "params")),
                               [](lua_State* state, const json::Json& value) { push_json(state, value); });
  });
}

/// open(): of this project.
int open(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_object(L,
                     std::make_shared<lock::Keeper>((context(L).project / ".deployrun").lexically_normal().string()));
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"open", open}, {nullptr, nullptr}};

}  // namespace

int open_lock(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
