// The task tree: who owns whom, who is cancelled with whom, until when. What a task runs (a Lua coroutine) is the
// business of the class derived from this one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/loop.hpp"

namespace deployrun::core {

/// A node of the tree. Invariants: a task ends after its children; a deadline can only get nearer on the way down;
/// a shielded task is reached neither by its ancestors' cancellation nor by their deadlines.
class Task {
 public:
  /// `deadline` is absolute; passing it cancels the task and all below it with `timeout`.
  Task(Loop& loop, Task* parent, std::string name, std::optional<Instant> deadline = {}, bool shielded = false);
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task();

  const std::string& name() const noexcept { return name_; }
  Task* parent() const noexcept { return parent_; }
  const std::vector<Task*>& children() const noexcept { return children_; }
  bool shielded() const noexcept { return shielded_; }
  /// The earliest deadline that holds for this task, its own or an ancestor's.
  std::optional<Instant> deadline() const;

  /// Cancels this task and every descendant that is not shielded, children first. The first reason stays; later ones
  /// are ignored. The task hears of it at its wait, after what it waited for has released what it held.
  void cancel(const Error& reason);
  /// Why this task was cancelled; nothing while it was not.
  const std::optional<Error>& cancellation() const noexcept { return cancellation_; }

 protected:
  /// Called once, when the cancellation is set: interrupt the current wait, if there is one.
  virtual void on_cancel() = 0;
  /// Takes this task off the tree: it has ended. Handles to it may live on.
  void leave() noexcept;
  Loop& loop() noexcept { return loop_; }

 private:
  Loop& loop_;
  Task* parent_;
  std::string name_;
  std::optional<Instant> deadline_;
  bool shielded_;
  std::vector<Task*> children_;
  std::optional<Error> cancellation_;
  std::optional<Timer> timer_;
};

}  // namespace deployrun::core
