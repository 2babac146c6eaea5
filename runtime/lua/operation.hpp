// An operation on its way through Lua: made by a binding, yielded once by `await`, started by the scheduler.
#pragma once

#include <functional>
#include <lua.hpp>
#include <memory>
#include <optional>
#include <type_traits>

#include "core/operation.hpp"
#include "lua/error.hpp"

namespace deployrun::lua {

/// A core::Operation<T> without its T.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void start(std::function<void()> done) = 0;
  virtual void cancel() noexcept = 0;
  /// Leaves the value and returns true, or leaves the error table and returns false. Once, after `done`.
  virtual bool push(lua_State* L) = 0;
  /// True where a cancelled task gets the value all the same (joining a shielded task: undo, cleaning up).
  virtual bool shielded() const noexcept { return false; }
  /// True where a cancelled task still has to wait until it is over (joining any task: none outlives its waiter).
  virtual bool joins() const noexcept { return false; }
};

template <class T, class Push>
class PendingOperation final : public Pending {
 public:
  PendingOperation(std::unique_ptr<core::Operation<T>> operation, Push pusher)
      : operation_(std::move(operation)), push_(std::move(pusher)) {}

  void start(std::function<void()> done) override {
    operation_->start([this, done = std::move(done)](core::Result<T> result) {
      result_.emplace(std::move(result));
      done();
    });
  }
  void cancel() noexcept override {
    if (!result_) operation_->cancel();
  }
  bool push(lua_State* L) override {
    if (!result_->ok()) {
      push_error(L, result_->error());
      return false;
    }
    if constexpr (std::is_invocable_v<Push, lua_State*, T&&>) {
      push_(L, std::move(*result_).value());
    } else {
      push_(L, **result_);
    }
    return true;
  }

 private:
  std::unique_ptr<core::Operation<T>> operation_;
  Push push_;
  std::optional<core::Result<T>> result_;
};

/// Leaves the userdata that `await` takes; returns 1. Not awaited, it is collected without ever having started.
int push_pending(lua_State* L, std::unique_ptr<Pending> pending);
/// The operation in a value that was yielded; nullptr when it is none or was awaited before. Ownership moves.
std::unique_ptr<Pending> take_pending(lua_State* L, int index);
/// Whether the value is an operation that was not awaited yet.
bool is_pending(lua_State* L, int index);

/// `push` is `void(lua_State*, const T&)` (or `T&&`) and leaves exactly one value. It must not throw core::Failure.
template <class T, class Push>
int push_operation(lua_State* L, std::unique_ptr<core::Operation<T>> operation, Push push) {
  return push_pending(L, std::make_unique<PendingOperation<T, Push>>(std::move(operation), std::move(push)));
}

/// For operations whose value is nothing: leaves true.
inline void push_unit(lua_State* L, const core::Unit&) { lua_pushboolean(L, 1); }

}  // namespace deployrun::lua
