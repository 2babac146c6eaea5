// Runs Lua coroutines as tasks of the tree: starts what they await, resumes them when it has completed.
// Invariants: no coroutine is resumed from inside a library's callback (completion only queues it); a wake-up belongs
// to one wait, so a late one is dropped; a task ends after its children.
#pragma once

#include <functional>
#include <lua.hpp>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "core/loop.hpp"
#include "core/task.hpp"
#include "lua/operation.hpp"
#include "lua/watchdog.hpp"

namespace deployrun::lua {

class Scheduler;

/// One coroutine. Ends with one value (or nil), or an Error.
class LuaTask final : public core::Task, public std::enable_shared_from_this<LuaTask> {
 public:
  struct Options {
    std::string name = "task";
    std::optional<core::Instant> deadline;
    bool shielded = false;
  };
  LuaTask(Scheduler& scheduler, LuaTask* parent, Options options);
  ~LuaTask() override;

  bool finished() const noexcept { return finished_; }
  /// What it failed with; nothing when it succeeded. Valid once finished.
  const std::optional<core::Error>& failure() const noexcept { return failure_; }
  /// Leaves its value (or nil). Valid once finished.
  void push_value(lua_State* L) const;
  /// `fn` runs on a later turn, once, when the task has finished (at once queued if it has).
  void on_finish(std::function<void()> fn);
  /// The failure has a taker: the parent need not report it.
  void observe() noexcept { observed_ = true; }

 protected:
  void on_cancel() override;

 private:
  friend class Scheduler;
  enum class State { ready, running, waiting, closing };

  std::shared_ptr<lua_State*> vm_;  // null state once the VM is closed: a handle may outlive it
  lua_State* thread_ = nullptr;
  int thread_ref_ = LUA_NOREF;
  int value_ref_ = LUA_NOREF;
  State state_ = State::ready;
  std::unique_ptr<Pending> pending_;
  std::uint64_t wait_ = 0;  // which wait a wake-up is for
  bool finished_ = false;
  bool observed_ = false;
  std::optional<core::Error> failure_;
  std::vector<std::function<void()>> listeners_;
};

class Scheduler {
 public:
  /// `limit`: CPU time that Lua may take without waiting; zero: no limit.
  Scheduler(core::Loop& loop, lua_State* main, std::chrono::milliseconds limit)
      : loop_(loop), main_(main), vm_(std::make_shared<lua_State*>(main)), watchdog_(main, limit) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// The abrupt end, before the VM is closed: drops every coroutine, children before parents.
  void abandon();
  /// After the VM was closed: handles that are still held let go of nothing.
  void vm_closed() noexcept { *vm_ = nullptr; }

  /// Takes the function and `arguments` values above it off `from`'s stack and queues them as a new task below `parent`
  /// (nullptr: a root).
  std::shared_ptr<LuaTask> spawn(lua_State* from, int arguments, LuaTask* parent, LuaTask::Options options);
  /// The task whose coroutine is running now; nullptr outside any.
  LuaTask* current() const noexcept { return current_; }
  /// Whether `L` may wait: it is the current task's own coroutine, not one that the recipe made inside it.
  bool may_wait(lua_State* L) const noexcept { return current_ != nullptr && current_->thread_ == L; }
  core::Loop& loop() noexcept { return loop_; }

 private:
  friend class LuaTask;
  void resume(const std::shared_ptr<LuaTask>& task, int arguments);
  void begin_wait(const std::shared_ptr<LuaTask>& task);
  void wake(const std::shared_ptr<LuaTask>& task, std::uint64_t wait);
  void end(const std::shared_ptr<LuaTask>& task);
  void finish_if_childless(const std::shared_ptr<LuaTask>& task);

  core::Loop& loop_;
  lua_State* main_;
  std::shared_ptr<lua_State*> vm_;
  Watchdog watchdog_;
  LuaTask* current_ = nullptr;
  std::unordered_set<std::shared_ptr<LuaTask>> live_;
};

/// Waits for a task; its failure is raised where it is awaited. Cancelling the wait leaves the task alone (it is
/// cancelled by its own place in the tree).
std::unique_ptr<Pending> join(std::shared_ptr<LuaTask> task);

}  // namespace deployrun::lua
