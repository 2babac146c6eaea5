#include "http/upload.hpp"

#include <algorithm>
#include <cstring>

namespace deployrun::http {

void Upload::write(std::string bytes) {
  if (finished_ || error_ || bytes.empty()) return;
  waiting_ += bytes.size();
  parts_.push_back(std::move(bytes));
  if (wake) wake();
}

void Upload::finish() {
  finished_ = true;
  if (wake) wake();
}

void Upload::fail(core::Error error) {
  if (error_) return;
  error_ = std::move(error);
  if (wake) wake();
}

Upload::State Upload::state() const noexcept {
  if (error_) return State::failed;
  if (waiting_ > 0) return State::bytes;
  return finished_ ? State::end : State::empty;
}

std::size_t Upload::take(char* into, std::size_t room) {
  const bool was_full = full();
  std::size_t taken = 0;
  while (taken < room && !parts_.empty()) {
    const std::string& part = parts_.front();
    const std::size_t count = std::min(room - taken, part.size() - offset_);
    std::memcpy(into + taken, part.data() + offset_, count);
    taken += count;
    offset_ += count;
    if (offset_ == part.size()) {
      parts_.pop_front();
      offset_ = 0;
    }
  }
  waiting_ -= taken;
  if (was_full && !full() && on_room) on_room();
  return taken;
}

}  // namespace deployrun::http
