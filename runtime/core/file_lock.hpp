// A lock between processes that the kernel frees when its holder ends, however it ends: an open-file-description lock
// on a file of its own, so that no other descriptor of this process drops it, and no child process (O_CLOEXEC) keeps it
// unless that is wanted. The file stays; what is in it is only for messages.
#pragma once

#include <optional>
#include <string>

#include "core/result.hpp"

namespace deployrun::core {

class FileLock {
 public:
  /// Takes the lock at once, or gives nothing where somebody holds it. The file is made (0600) where it is missing; a
  /// symbolic link is refused. `files.io` with `path`.
  static Result<std::optional<FileLock>> try_acquire(const std::string& path);
  /// What the holder says of itself; nothing where nobody holds the lock.
  static Result<std::optional<std::string>> look(const std::string& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  /// Releases.
  ~FileLock();

  /// Replaces what others read in `look`, 4 KiB at most. Best effort.
  void announce(const std::string& text) noexcept;
  /// For a child that is to hold the lock too, beyond our end: it clears FD_CLOEXEC of it. Released, it is released for
  /// the child as well.
  int descriptor() const noexcept { return fd_; }

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace deployrun::core
