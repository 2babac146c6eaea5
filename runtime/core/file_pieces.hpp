// A file of this machine in pieces, for what is too large to hold. Everything here blocks: for pool jobs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.hpp"

namespace deployrun::core {

/// Closes what it holds.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { shut(); }
  int get() const noexcept { return fd_; }
  bool open() const noexcept { return fd_ >= 0; }
  /// False (errno set) where the file system reports a late failure to write.
  bool shut() noexcept;

 private:
  int fd_;
};

/// A regular file, from its beginning on. Kinds as those of files.hpp.
class FileReader {
 public:
  static Result<std::shared_ptr<FileReader>> open(const std::string& path);
  /// What it had when it was opened.
  std::uint64_t size() const noexcept { return size_; }
  /// Up to `most` bytes; empty at the end. A file that became shorter or longer meanwhile is `files.io`.
  Result<std::string> read(std::size_t most);

 private:
  FileReader(std::string path, int fd) : path_(std::move(path)), file_(fd) {}
  std::string path_;
  Descriptor file_;
  std::uint64_t size_ = 0, read_ = 0;
};

/// A file that comes into being whole: written beside its place under a fresh name (O_EXCL, O_NOFOLLOW, 0600), and
/// nothing is to be seen there before `commit`. Destroyed without it, it is removed.
class NewFile {
 public:
  /// `path` for good once it is committed.
  static Result<std::shared_ptr<NewFile>> create(const std::string& path);
  ~NewFile() { drop(); }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  Result<Unit> write(std::string_view bytes);
  /// Sets the mode, syncs, renames over the place and syncs the folder. A symlink there is replaced, not followed.
  Result<Unit> commit(mode_t mode);
  /// Removes it, unless it was committed.
  void drop() noexcept;

 private:
  NewFile(std::string path, std::string fresh, int fd) : path_(std::move(path)), fresh_(std::move(fresh)), file_(fd) {}
  std::string path_;
  std::string fresh_;  // empty once committed
  Descriptor file_;
};

}  // namespace deployrun::core
