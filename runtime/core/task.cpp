#include "core/task.hpp"

#include <algorithm>
#include <cassert>

namespace deployrun::core {

namespace {

Milliseconds until(Instant deadline) {
  const auto left = std::chrono::ceil<Milliseconds>(deadline - Loop::now());
  return std::max(left, Milliseconds{0});
}

}  // namespace

Task::Task(Loop& loop, Task* parent, std::string name, std::optional<Instant> deadline, bool shielded)
    : loop_(loop), parent_(parent), name_(std::move(name)), deadline_(deadline), shielded_(shielded) {
  if (parent_ != nullptr) {
    parent_->children_.push_back(this);
    // A child born into a cancelled scope is cancelled from the start; its first wait says so.
    if (!shielded_) cancellation_ = parent_->cancellation_;
  }
  if (deadline_) {
    timer_.emplace(loop_);
    const auto allowed = until(*deadline_);
    timer_->start(allowed, [this, allowed] {
      cancel(
          {.kind = "timeout", .message = name_ + ": not finished within " + std::to_string(allowed.count()) + " ms"});
    });
  }
}

Task::~Task() {
  assert(children_.empty() && "a task ends after its children");
  leave();
}

void Task::leave() noexcept {
  timer_.reset();
  if (parent_ != nullptr) std::erase(parent_->children_, this);
  parent_ = nullptr;
}

std::optional<Instant> Task::deadline() const {
  const auto inherited = parent_ != nullptr && !shielded_ ? parent_->deadline() : std::nullopt;
  if (!deadline_) return inherited;
  return inherited ? std::min(*deadline_, *inherited) : *deadline_;
}

void Task::cancel(const Error& reason) {
  if (cancellation_) return;
  cancellation_ = reason;
  // A copy: on_cancel may end a child at once. Ended children take themselves off `children_`.
  for (Task* child : std::vector<Task*>(children_)) {
    const bool alive = std::find(children_.begin(), children_.end(), child) != children_.end();
    if (alive && !child->shielded_) child->cancel(reason);
  }
  on_cancel();
}

}  // namespace deployrun::core
