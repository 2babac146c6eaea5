// `native.sqlite.raw`: databases of this machine, and mutexes.
#include "bindings/context.hpp"
#include "bindings/sqlite_values.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "sqlite/connection.hpp"
#include "sqlite/mutex.hpp"

namespace deployrun::bindings {

namespace {

using sqlite::Connection;

/// Leaves { bytes, pages }.
void push_copied(lua_State* L, const sqlite::Copied& copied) {
  lua_createtable(L, 0, 2);
  lua::set_field(L, "bytes", static_cast<double>(copied.bytes));
  lua::set_field(L, "pages", static_cast<double>(copied.pages));
}

/// Leaves { { pid, command, container, writes }, … }.
void push_holders(lua_State* L, const std::vector<sqlite::Holder>& holders) {
  lua_createtable(L, static_cast<int>(holders.size()), 0);
  int position = 0;
  for (const auto& holder : holders) {
    lua_createtable(L, 0, 4);
    lua::set_field(L, "pid", static_cast<double>(holder.pid));
    lua::set_field(L, "command", holder.command);
    lua::set_field(L, "container", holder.container);
    lua::set_flag(L, "writes", holder.writes);
    lua_rawseti(L, -2, ++position);
  }
}

core::Milliseconds check_patience(lua_State* L, int index) {
  return core::Milliseconds(static_cast<std::int64_t>(lua::check_number(L, index)));
}

int query(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    return lua::push_operation(L, self->query(lua::check_string(L, 2), check_values(L, 3)), push_rows);
  });
}

int run(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    return lua::push_operation(L, self->run(lua::check_string(L, 2), check_values(L, 3)), push_rows);
  });
}

int execute(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    return lua::push_operation(L, self->execute(lua::check_string(L, 2)), lua::push_unit);
  });
}

/// begin(exclusive, patience in ms)
int begin(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    const auto mode = lua::check_boolean(L, 2) ? Connection::Mode::exclusive : Connection::Mode::immediate;
    return lua::push_operation(L, self->begin(mode, check_patience(L, 3)), lua::push_unit);
  });
}

int commit(lua_State* L) {
  return lua::guard(
      L, [L] { return lua::push_operation(L, lua::check_object<Connection>(L, 1)->commit(), lua::push_unit); });
}

int rollback(lua_State* L) {
  return lua::guard(
      L, [L] { return lua::push_operation(L, lua::check_object<Connection>(L, 1)->rollback(), lua::push_unit); });
}

int was_done(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    return lua::push_operation(L, self->was_done(lua::check_string(L, 2)),
                               [](lua_State* state, bool done) { lua_pushboolean(state, done ? 1 : 0); });
  });
}

int mark_done(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Connection>(L, 1);
    return lua::push_operation(L, self->mark_done(lua::check_string(L, 2)), lua::push_unit);
  });
}

int close_connection(lua_State* L);
int release(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<sqlite::Connection> {
  static constexpr const char* kName = "sqlite.connection";
  static constexpr luaL_Reg kMethods[] = {{"query", bindings::query},
                                          {"run", bindings::run},
                                          {"execute", bindings::execute},
                                          {"begin", bindings::begin},
                                          {"commit", bindings::commit},
                                          {"rollback", bindings::rollback},
                                          {"was_done", bindings::was_done},
                                          {"mark_done", bindings::mark_done},
                                          {"close", bindings::close_connection},
                                          {nullptr, nullptr}};
};

template <>
struct ObjectType<core::FileLock> {
  static constexpr const char* kName = "sqlite.mutex";
  static constexpr luaL_Reg kMethods[] = {{"release", bindings::release}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

int close_connection(lua_State* L) { return lua::close_object<Connection>(L); }
int release(lua_State* L) { return lua::close_object<core::FileLock>(L); }

/// open(path, { create, read_only, patience in ms })
int open(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "sqlite.open");
    sqlite::ConnectionOptions how{.create = options.boolean("create").value_or(false),
                                  .read_only = options.boolean("read_only").value_or(false)};
    how.patience = options.milliseconds("patience").value_or(how.patience);
    options.finish();
    return lua::push_operation(
        L, Connection::open(context(L).loop, lua::check_string(L, 1), how),
        [](lua_State* state, const std::shared_ptr<Connection>& connection) { lua::push_object(state, connection); });
  });
}

/// snapshot(from, to, check, patience in ms)
int snapshot(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L,
                               sqlite::take_snapshot(context(L).loop, lua::check_string(L, 1), lua::check_string(L, 2),
                                                     lua::check_boolean(L, 3), check_patience(L, 4)),
                               push_copied);
  });
}

/// restore(from, to, patience in ms)
int restore(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L,
                               sqlite::restore_snapshot(context(L).loop, lua::check_string(L, 1),
                                                        lua::check_string(L, 2), check_patience(L, 3)),
                               push_copied);
  });
}

/// check(path, patience in ms): an array of problems.
int check(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(
        L, sqlite::check_database(context(L).loop, lua::check_string(L, 1), check_patience(L, 2)), lua::push_strings);
  });
}

int holders(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, sqlite::list_holders(context(L).loop, lua::check_string(L, 1)), push_holders);
  });
}

/// space(path): { bytes, free }
int space(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, sqlite::look_at_space(context(L).loop, lua::check_string(L, 1)),
                               [](lua_State* state, const sqlite::Space& found) {
                                 lua_createtable(state, 0, 2);
                                 lua::set_field(state, "bytes", static_cast<double>(found.bytes));
                                 lua::set_field(state, "free", static_cast<double>(found.free));
                               });
  });
}

int push_mutex(lua_State* L, std::string path, int says) {
  return lua::push_operation(
      L,
      sqlite::acquire_mutex(context(L).loop, std::move(path), lua::check_string(L, says), check_patience(L, says + 1)),
      [](lua_State* state, const std::shared_ptr<core::FileLock>& lock) { lua::push_object(state, lock); });
}

/// mutex(name, what others are told, patience in ms): the project's .deployrun/locks/NAME.lock.
int mutex(lua_State* L) {
  return lua::guard(L, [L] {
    const auto path = context(L).project / ".deployrun" / "locks" / (lua::check_string(L, 1) + ".lock");
    return push_mutex(L, path.string(), 2);
  });
}

/// lock(path, what others are told, patience in ms)
int lock(lua_State* L) {
  return lua::guard(L, [L] { return push_mutex(L, lua::check_string(L, 1), 2); });
}

constexpr luaL_Reg kFunctions[] = {{"open", open},   {"snapshot", snapshot}, {"restore", restore},
                                   {"check", check}, {"holders", holders},   {"space", space},
                                   {"mutex", mutex}, {"lock", lock},         {nullptr, nullptr}};

}  // namespace

int open_sqlite(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
