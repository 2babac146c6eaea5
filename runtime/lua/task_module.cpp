#include "lua/task_module.hpp"

#include <chrono>

#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/runtime.hpp"
#include "lua/scheduler.hpp"
#include "lua/stack.hpp"

namespace deployrun::lua {

namespace {

class Sleep final : public core::Operation<core::Unit> {
 public:
  Sleep(core::Loop& loop, core::Milliseconds delay) : timer_(loop), delay_(delay) {}
  void start(Done done) override {
    done_ = std::move(done);
    timer_.start(delay_, [this] {
      auto call = std::move(done_);
      call(core::Unit{});
    });
  }
  void cancel() noexcept override {
    if (!timer_.active()) return;
    timer_.cancel();
    auto call = std::move(done_);
    call(core::cancelled());
  }

 private:
  core::Timer timer_;
  core::Milliseconds delay_;
  Done done_;
};

int task_cancel(lua_State* L) {
  return guard(L, [L] {
    auto task = check_object<LuaTask>(L, 1);
    const std::string reason = opt_string(L, 2, "cancelled");
    if (!task->finished()) task->cancel(core::cancelled(reason));
    return 0;
  });
}

int task_finished(lua_State* L) {
  return guard(L, [L] {
    lua_pushboolean(L, check_object<LuaTask>(L, 1)->finished() ? 1 : 0);
    return 1;
  });
}

int task_join(lua_State* L) {
  return guard(L, [L] { return push_pending(L, join(check_object<LuaTask>(L, 1))); });
}

/// spawn(fn, { name, timeout (ms), shielded, observed }) → task, below the running one
int spawn(lua_State* L) {
  return guard(L, [L] {
    if (!lua_isfunction(L, 1)) wrong_argument(L, 1, "a function");
    Scheduler& scheduler = runtime(L).scheduler();
    if (scheduler.current() == nullptr) throw core::Failure(core::usage("task.spawn: outside a task"));
    LuaTask::Options options;
    Options given(L, 2, "task.spawn");
    options.name = given.string("name").value_or("task");
    if (const auto timeout = given.milliseconds("timeout")) options.deadline = core::Loop::now() + *timeout;
    options.shielded = given.boolean("shielded").value_or(false);
    const bool observed = given.boolean("observed").value_or(false);
    given.finish();
    lua_settop(L, 1);
    auto task = scheduler.spawn(L, 0, scheduler.current(), std::move(options));
    if (observed) task->observe();
    push_object(L, std::move(task));
    return 1;
  });
}

int sleep_for(lua_State* L) {
  return guard(L, [L] {
    const double ms = check_number(L, 1);
    std::unique_ptr<core::Operation<core::Unit>> op = std::make_unique<Sleep>(
        runtime(L).loop(), core::Milliseconds(static_cast<core::Milliseconds::rep>(ms < 0 ? 0 : ms)));
    return push_operation(L, std::move(op), push_unit);
  });
}

/// Raises `usage` unless the value is a fresh operation and the caller may wait here.
int check_wait(lua_State* L) {
  return guard(L, [L] {
    Scheduler& scheduler = runtime(L).scheduler();
    if (!is_pending(L, 1)) throw core::Failure(core::usage("await: expected an operation that was not awaited before"));
    if (scheduler.current() == nullptr)
      throw core::Failure(core::usage("await: nothing can wait here (outside a task)"));
    if (!scheduler.may_wait(L)) {
      throw core::Failure(core::usage("await: nothing can wait inside a coroutine of your own; use task.spawn"));
    }
    return 0;
  });
}

int now(lua_State* L) {
  const auto since = core::Loop::now().time_since_epoch();
  lua_pushnumber(L, std::chrono::duration<double, std::milli>(since).count());
  return 1;
}

/// Milliseconds until the running task's deadline, or nil.
int remaining(lua_State* L) {
  return guard(L, [L] {
    LuaTask* task = runtime(L).scheduler().current();
    const auto deadline = task != nullptr ? task->deadline() : std::nullopt;
    if (!deadline) {
      lua_pushnil(L);
    } else {
      lua_pushnumber(L, std::chrono::duration<double, std::milli>(*deadline - core::Loop::now()).count());
    }
    return 1;
  });
}

/// The reason the running task was cancelled for, as an error table; nil while it was not.
int cancellation(lua_State* L) {
  return guard(L, [L] {
    LuaTask* task = runtime(L).scheduler().current();
    if (task != nullptr && task->cancellation()) {
      push_error(L, *task->cancellation());
    } else {
      lua_pushnil(L);
    }
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"spawn", spawn},         {"sleep", sleep_for},           {"check_wait", check_wait}, {"now", now},
    {"remaining", remaining}, {"cancellation", cancellation}, {nullptr, nullptr},
};

}  // namespace

template <>
struct ObjectType<LuaTask> {
  static constexpr const char* kName = "task";
  static constexpr luaL_Reg kMethods[] = {
      {"cancel", task_cancel}, {"finished", task_finished}, {"join", task_join}, {nullptr, nullptr}};
};

int open_task(lua_State* L) { return export_table(L, kFunctions); }

}  // namespace deployrun::lua
