// Who owns the run that is going on: a lock that the kernel frees when the process ends, however it ends (DESIGN.md
// §7), on a file of its own.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "core/file_lock.hpp"
#include "journal/record.hpp"

namespace deployrun::journal {

/// What the owner wrote into the file, for messages only: the lock decides, never the text.
struct Holder {
  std::string run;
  std::int64_t pid = 0;
  std::string host;
};

class Ownership {
 public:
  /// Takes the lock, until this dies, or fails at once with `journal.busy` (`run`, `pid`, `holder_host`).
  static core::Result<Ownership> acquire(const std::string& path);
  /// Looks without taking: the holder, if a living process has the lock.
  static core::Result<std::optional<Holder>> look(const std::string& path);

  /// Tells others which run this is. Best effort.
  void announce(const std::string& run) noexcept;

 private:
  explicit Ownership(core::FileLock lock) : lock_(std::move(lock)) {}
  core::FileLock lock_;
};

}  // namespace deployrun::journal
