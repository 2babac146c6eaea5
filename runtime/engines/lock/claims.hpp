// The claims to the deploy lock. The one with the highest token counts, and it is never removed, so that tokens only
// grow.
#pragma once

#include <optional>
#include <string>

#include "core/result.hpp"
#include "lock/folder.hpp"
#include "lock/record.hpp"

namespace deployrun::lock {

/// A claim as it is found.
struct Found {
  Record record;
  bool alive = false;  ///< a process holds its kernel lock
};

class Claims {
 public:
  /// The folder of one app's deploy lock, see Folder::open. All calls: `lock.io` with `path`.
  static core::Result<Claims> open(const std::string& folder);

  /// The claim that counts; nothing where there never was one. `lock.corrupt`.
  core::Result<std::optional<Found>> highest() const;
  /// What tells this lock from every other of the same name: of another host, of the same host set up anew.
  core::Result<std::string> identity() const;
  /// Its token alone; 0 where there is none.
  core::Result<std::uint64_t> highest_token() const;
  /// Puts a claim in place unless there is one of this or a higher token; nothing then. On disk when it returns.
  core::Result<std::optional<HeldFile>> add(const Record& record) const;
  /// Writes the first line again.
  core::Result<core::Unit> write_sign(const HeldFile& file, const Record& record, bool durable) const;
  /// Removes the claims below a token. Best effort.
  void forget_below(std::uint64_t token) const noexcept;

 private:
  explicit Claims(Folder folder) : folder_(std::move(folder)) {}
  Folder folder_;
};

}  // namespace deployrun::lock
