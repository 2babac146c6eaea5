// A request body that is written while it is sent.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "core/error.hpp"

namespace deployrun::http {

/// The writer's side is `write`, `finish`, `fail`; libcurl takes from the other. Writing never waits: `full` tells the
/// writer to stop until `on_room`.
class Upload {
 public:
  static constexpr std::size_t kFull = 1U << 20U;

  /// `size` in bytes where it is known; without it the body goes chunked.
  explicit Upload(std::optional<std::uint64_t> size = {}) : size_(size) {}

  void write(std::string bytes);
  void finish();
  /// The body cannot be completed: the request fails with this error.
  void fail(core::Error error);
  bool full() const noexcept { return waiting_ >= kFull; }
  /// Called when `full` has become false again.
  std::function<void()> on_room;

  std::optional<std::uint64_t> size() const noexcept { return size_; }

  // The sender's side.
  enum class State { bytes, empty, end, failed };
  State state() const noexcept;
  std::size_t take(char* into, std::size_t room);
  const std::optional<core::Error>& error() const noexcept { return error_; }
  /// Called when there is something to send again.
  std::function<void()> wake;

 private:
  std::optional<std::uint64_t> size_;
  std::deque<std::string> parts_;
  std::size_t offset_ = 0;  // in the first part
  std::size_t waiting_ = 0;
  bool finished_ = false;
  std::optional<core::Error> error_;
};

}  // namespace deployrun::http
