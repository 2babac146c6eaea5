// The folder of claims. The claim with the highest token is the one that counts, and it is never removed, so that
// tokens only grow. A claim comes into being with link(2), whole and with its holder's kernel lock on it, or not at
// all: nobody ever waits for somebody else's critical section, and a process that is stopped anywhere in here holds up
// no one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "lock/record.hpp"

namespace deployrun::lock {

/// A claim as it is found.
struct Found {
  Record record;
  bool alive = false;  ///< a process holds its kernel lock
};

/// An open claim file; closing it frees the kernel lock.
class ClaimFile {
 public:
  explicit ClaimFile(int fd) : fd_(fd) {}
  ClaimFile(ClaimFile&& other) noexcept;
  ClaimFile& operator=(ClaimFile&& other) noexcept;
  ~ClaimFile();
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

class Claims {
 public:
  /// The folder is made (0700) where it is missing; one that others can write to is refused. `lock.io` with `path`.
  static core::Result<Claims> open(const std::string& folder);

  /// The claim that counts; nothing where there never was one. `lock.io`, `lock.corrupt`.
  core::Result<std::optional<Found>> highest() const;
  /// Its token alone; 0 where there is none.
  core::Result<std::uint64_t> highest_token() const;
  /// Puts a claim in place unless there is one of this or a higher token; nothing then. On disk when it returns.
  core::Result<std::optional<ClaimFile>> add(const Record& record) const;
  /// Writes the first line again.
  core::Result<core::Unit> write_sign(const ClaimFile& file, const Record& record, bool durable) const;
  /// Removes the claims below a token. Best effort.
  void forget_below(std::uint64_t token) const noexcept;

  const std::string& folder() const noexcept { return folder_; }

 private:
  explicit Claims(std::string folder) : folder_(std::move(folder)) {}
  std::string path_of(std::uint64_t token) const { return folder_ + "/claim-" + std::to_string(token); }
  core::Result<std::vector<std::uint64_t>> tokens() const;
  std::string folder_;
};

}  // namespace deployrun::lock
