// `native.report.raw`: events to whoever watches.
#include "report/collector.hpp"
#include "report/reporter.hpp"

#include "bindings/context.hpp"
#include "bindings/value.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/operation.hpp"

namespace deployrun::bindings {

namespace {

int emit(lua_State* L) {
  return lua::guard(L, [L] {
    context(L).reporter.emit(to_json(L, 1, "event"));
    return 0;
  });
}

/// Whether the reader of the data lags so far behind that its producer should wait.
int full(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushboolean(L, context(L).reporter.full() ? 1 : 0);
    return 1;
  });
}

int drained(lua_State* L) {
  return lua::guard(L, [L] { return lua::push_operation(L, context(L).reporter.drained(), lua::push_unit); });
}

/// Leaves the run's events so far and how many were left out; nil where none are kept.
int collected(lua_State* L) {
  return lua::guard(L, [L] {
    const report::Collector* collector = context(L).collector;
    if (collector == nullptr) {
      lua_pushnil(L);
      return 1;
    }
    push_json(L, collector->events());
    lua_pushinteger(L, static_cast<lua_Integer>(collector->left_out()));
    return 2;
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"emit", emit}, {"full", full}, {"drained", drained}, {"collected", collected}, {nullptr, nullptr}};

}  // namespace

int open_report(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
