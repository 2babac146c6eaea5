// Bytes in, bytes out, close: the seam between whoever speaks a protocol and whatever carries it (a local socket, an
// SSH channel, a script in a test).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/result.hpp"

namespace deployrun::core {

/// Used on the loop's thread only. At most one read and one write are in flight; a second of the same kind is a defect.
/// Callbacks may run before the call returns and may destroy the stream.
class Stream {
 public:
  using Read = std::function<void(Result<std::string>)>;
  using Written = std::function<void(Result<Unit>)>;

  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// Some bytes, at least one; an empty string is the end. Never the same bytes twice.
  virtual void read(Read done) = 0;
  /// All of `bytes`, in order; `done` when the transport has taken them (the back-pressure).
  virtual void write(std::string bytes, Written done) = 0;
  /// Half-close: the peer sees the end, reading goes on.
  virtual void end_write() = 0;
  /// The abrupt end, idempotent. Outstanding callbacks get `cancelled`.
  virtual void close() noexcept = 0;
};

/// Opens a stream when it is needed. `done` may come before the call returns. Destroying the returned token before
/// `done` cancels: `done` is then never called.
using Dial = std::function<std::shared_ptr<void>(std::function<void(Result<std::unique_ptr<Stream>>)> done)>;

}  // namespace deployrun::core
