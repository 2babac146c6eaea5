#include "lua/scheduler.hpp"

#include <cassert>

namespace deployrun::lua {

LuaTask::LuaTask(Scheduler& scheduler, LuaTask* parent, Options options)
    : Task(scheduler.loop_, parent, std::move(options.name), options.deadline, options.shielded), vm_(scheduler.vm_) {}

LuaTask::~LuaTask() {
  if (*vm_ == nullptr) return;
  luaL_unref(*vm_, LUA_REGISTRYINDEX, value_ref_);
  luaL_unref(*vm_, LUA_REGISTRYINDEX, thread_ref_);
}

void LuaTask::push_value(lua_State* L) const {
  if (value_ref_ == LUA_NOREF) {
    lua_pushnil(L);
  } else {
    lua_rawgeti(L, LUA_REGISTRYINDEX, value_ref_);
  }
}

void LuaTask::on_finish(std::function<void()> fn) {
  if (finished_) {
    loop().defer(std::move(fn));
  } else {
    listeners_.push_back(std::move(fn));
  }
}

void LuaTask::on_cancel() {
  // Ready or running: its next wait tells it. Closing: its body has ended, only children are left.
  if (state_ == State::waiting && pending_ != nullptr && !pending_->shielded()) pending_->cancel();
}

void Scheduler::abandon() {
  while (!live_.empty()) {
    for (auto it = live_.begin(); it != live_.end();) {
      const std::shared_ptr<LuaTask> task = *it;
      if (!task->children().empty()) {
        ++it;
        continue;
      }
      task->pending_.reset();
      task->leave();
      it = live_.erase(it);
    }
  }
}

std::shared_ptr<LuaTask> Scheduler::spawn(lua_State* from, int arguments, LuaTask* parent, LuaTask::Options options) {
  auto task = std::make_shared<LuaTask>(*this, parent, std::move(options));
  task->thread_ = lua_newthread(from);
  task->thread_ref_ = luaL_ref(from, LUA_REGISTRYINDEX);
  luaL_checkstack(task->thread_, arguments + 8, "task arguments");
  lua_xmove(from, task->thread_, arguments + 1);
  live_.insert(task);
  loop_.defer([this, weak = std::weak_ptr(task), arguments] {
    if (auto alive = weak.lock()) resume(alive, arguments);
  });
  return task;
}

void Scheduler::resume(const std::shared_ptr<LuaTask>& task, int arguments) {
  if (task->finished_) return;
  LuaTask* outer = current_;
  current_ = task.get();
  task->state_ = LuaTask::State::running;
  lua_State* thread = task->thread_;
  const int status = [&] {
    const Watchdog::Running running(watchdog_);
    return lua_resume(thread, arguments);
  }();
  current_ = outer;

  if (status == LUA_YIELD) {
    if (lua_gettop(thread) == 1 && is_pending(thread, 1)) {
      task->pending_ = take_pending(thread, 1);
      lua_settop(thread, 0);
      begin_wait(task);
      return;
    }
    task->failure_ = core::usage("coroutine.yield outside a coroutine of your own: tasks wait by calling what waits");
  } else if (status == 0) {
    if (lua_gettop(thread) > 0) {
      lua_settop(thread, 1);
      task->value_ref_ = luaL_ref(thread, LUA_REGISTRYINDEX);
    }
  } else {
    std::string trace;
    if (!lua_istable(thread, -1)) {
      luaL_traceback(main_, thread, nullptr, 0);
      trace = lua_tostring(main_, -1);
      lua_pop(main_, 1);
    }
    task->failure_ = to_error(thread, -1, trace);
  }
  end(task);
}

void Scheduler::begin_wait(const std::shared_ptr<LuaTask>& task) {
  task->state_ = LuaTask::State::waiting;
  const std::uint64_t wait = ++task->wait_;
  std::weak_ptr<LuaTask> weak = task;
  auto wake_later = [this, weak, wait] {
    loop_.defer([this, weak, wait] {
      if (auto alive = weak.lock()) wake(alive, wait);
    });
  };
  if (task->cancellation() && !task->pending_->joins()) {
    wake_later();  // never started: `wake` delivers the reason
  } else {
    task->pending_->start(std::move(wake_later));
  }
}

void Scheduler::wake(const std::shared_ptr<LuaTask>& task, std::uint64_t wait) {
  if (task->finished_ || task->state_ != LuaTask::State::waiting || task->wait_ != wait) return;
  const std::unique_ptr<Pending> pending = std::move(task->pending_);
  lua_State* thread = task->thread_;
  luaL_checkstack(thread, 8, "wake");
  if (task->cancellation() && !pending->shielded()) {
    lua_pushboolean(thread, 0);
    push_error(thread, *task->cancellation());
  } else {
    const bool ok = pending->push(thread);
    lua_pushboolean(thread, ok ? 1 : 0);
    lua_insert(thread, -2);
  }
  resume(task, 2);
}

void Scheduler::end(const std::shared_ptr<LuaTask>& task) {
  task->state_ = LuaTask::State::closing;
  if (task->failure_) {
    for (core::Task* child : std::vector<core::Task*>(task->children())) {
      if (!child->shielded()) child->cancel(core::cancelled("cancelled: " + task->name() + " failed"));
    }
  }
  finish_if_childless(task);
}

void Scheduler::finish_if_childless(const std::shared_ptr<LuaTask>& task) {
  if (task->state_ != LuaTask::State::closing || !task->children().empty() || task->finished_) return;
  auto* parent = static_cast<LuaTask*>(task->parent());
  task->finished_ = true;
  task->leave();
  luaL_unref(main_, LUA_REGISTRYINDEX, task->thread_ref_);
  task->thread_ref_ = LUA_NOREF;
  for (auto& listener : task->listeners_) loop_.defer(std::move(listener));
  task->listeners_.clear();
  live_.erase(task);  // `task` is held by the caller
  if (parent == nullptr) return;
  if (task->failure_ && !task->observed_ && !task->failure_->is("cancelled")) {
    // Nobody joined it: the failure must not be lost, so the parent's end carries it.
    if (!parent->failure_ && parent->state_ == LuaTask::State::closing) {
      parent->failure_ = task->failure_;
    } else if (parent->failure_) {
      parent->failure_->also.push_back(*task->failure_);
    } else {
      parent->cancel(*task->failure_);
    }
  }
  finish_if_childless(parent->shared_from_this());
}

namespace {

class Join final : public Pending {
 public:
  explicit Join(std::shared_ptr<LuaTask> task) : task_(std::move(task)) {}
  ~Join() override { *alive_ = false; }

  void start(std::function<void()> done) override {
    task_->observe();
    task_->on_finish([alive = alive_, done = std::move(done)] {
      if (*alive) done();
    });
  }
  // The task below is cancelled by the tree; the join ends when it has ended, so that no task outlives its waiter.
  void cancel() noexcept override {}
  bool push(lua_State* L) override {
    if (task_->failure()) {
      push_error(L, *task_->failure());
      return false;
    }
    task_->push_value(L);
    return true;
  }
  bool shielded() const noexcept override { return task_->shielded(); }
  bool joins() const noexcept override { return true; }

 private:
  std::shared_ptr<LuaTask> task_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

std::unique_ptr<Pending> join(std::shared_ptr<LuaTask> task) { return std::make_unique<Join>(std::move(task)); }

}  // namespace deployrun::lua
