// A folder of small files whose names end in a fencing token: `claim-7`. A file comes into being with link(2), whole
// and with its holder's kernel lock on it, or not at all: nobody ever waits for somebody else's critical section, and a
// process that is stopped anywhere in here holds up no one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace deployrun::lock {

/// An open file; closing it frees the kernel lock that it may have.
class HeldFile {
 public:
  explicit HeldFile(int fd) : fd_(fd) {}
  HeldFile(HeldFile&& other) noexcept;
  HeldFile& operator=(HeldFile&& other) noexcept;
  ~HeldFile();
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// What a file says, and whether a process holds its kernel lock.
struct Seen {
  std::string text;
  bool alive = false;
};

class Folder {
 public:
  /// More than any file here needs: what is longer was not written by us.
  static constexpr std::size_t kTextLimit = 16U << 10U;

  /// Made (0700) where it is missing; one that others can write to is refused. All calls: `lock.io` with `path`.
  static core::Result<Folder> open(const std::string& path);

  /// The numbers that follow `prefix` in names, in no order.
  core::Result<std::vector<std::uint64_t>> numbers(std::string_view prefix) const;
  /// The highest of them; 0 where there is none.
  core::Result<std::uint64_t> highest(std::string_view prefix) const;
  /// Nothing where there is no such file.
  core::Result<std::optional<Seen>> look(const std::string& name) const;
  /// Makes a file, on disk when it returns; nothing where there is one of that name. `hold`: with its kernel lock.
  core::Result<std::optional<HeldFile>> add(const std::string& name, std::string_view text, bool hold) const;
  /// Writes over the beginning of a file.
  core::Result<core::Unit> overwrite(const HeldFile& file, const std::string& name, std::string_view text,
                                     bool durable) const;
  /// Best effort.
  void remove(const std::string& name) const noexcept;
  void remove_below(std::string_view prefix, std::uint64_t number) const noexcept;

  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

 private:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace deployrun::lock
