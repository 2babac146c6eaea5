// All that a descriptor gives until its end: standard input that another program fills. Nothing blocks; cancelled, the
// rest stays unread.
#pragma once

#include <string>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::core {

/// The descriptor stays its caller's, in the mode it was in. A terminal is refused: who would know that it waits?
/// Kinds: `input.terminal`, `input.too_large` (more than `limit` bytes), `input.read`, `cancelled`.
class ReadInput final : public Operation<std::string> {
 public:
  ReadInput(Loop& loop, int fd, std::size_t limit);
  ~ReadInput() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  /// Reads what is there; true when that was all, or too much, or went wrong: then it has completed.
  bool take();
  void finish(Result<std::string> result);

  Loop& loop_;
  int fd_;
  std::size_t limit_;
  std::string bytes_;
  uv_poll_t* poll_ = nullptr;
  Done done_;
};

}  // namespace deployrun::core
