// Who owns the run that is going on: a lock that the kernel frees when the process ends, however it ends (DESIGN.md
// §7). An open-file-description lock on a file of its own, so that neither a child process (O_CLOEXEC) nor another
// descriptor of this process can drop it or keep it.
#pragma once

#include <optional>
#include <string>

#include "core/result.hpp"
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
  /// Takes the lock or fails at once with `journal.busy` (`run`, `pid`, `holder_host`).
  static core::Result<Ownership> acquire(const std::string& path);
  /// Looks without taking: the holder, if a living process has the lock.
  static core::Result<std::optional<Holder>> look(const std::string& path);

  Ownership(Ownership&& other) noexcept;
  Ownership& operator=(Ownership&&) = delete;
  /// Releases.
  ~Ownership();

  /// Tells others which run this is. Best effort.
  void announce(const std::string& run) noexcept;

 private:
  explicit Ownership(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace deployrun::journal
