// `native.log.raw`: messages of recipes, as events beside all others.
#include "bindings/context.hpp"
#include "bindings/value.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/stack.hpp"
#include "report/reporter.hpp"

namespace deployrun::bindings {

namespace {

/// write(level, message, fields?)
int write(lua_State* L) {
  return lua::guard(L, [L] {
    Json event = lua_isnoneornil(L, 3) ? Json::object() : to_json(L, 3, "log fields");
    if (!event.is_object()) throw core::Failure(core::usage("log: fields must have names"));
    event["type"] = "log";
    event["level"] = lua::check_string(L, 1);
    const Json message = to_json(L, 2, "log message");
    event["message"] = message.is_string() ? message : Json(json::dump(message));
    context(L).reporter.emit(std::move(event));
    return 0;
  });
}

constexpr luaL_Reg kFunctions[] = {{"write", write}, {nullptr, nullptr}};

}  // namespace

int open_log(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
