// Those who wait for a deploy lock, first come, first served. A place is a file with its waiter's kernel lock, so that
// one who is gone holds up nobody.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "lock/folder.hpp"
#include "lock/record.hpp"

namespace deployrun::lock {

class Queue {
 public:
  /// See Folder::open. All calls: `lock.io`.
  static core::Result<Queue> open(const std::string& folder);

  /// A place in it; given up when this dies.
  class Place {
   public:
    Place(Folder folder, std::uint64_t number, HeldFile file);
    Place(Place&& other) noexcept;
    Place& operator=(Place&&) = delete;
    ~Place();
    std::uint64_t number() const noexcept { return number_; }

   private:
    Folder folder_;
    std::uint64_t number_;  // 0: moved from
    HeldFile file_;
  };

  /// The place behind everybody who waits.
  core::Result<Place> join(const Claim& claim) const;
  /// Who waits, in order; those before a place alone, where one is named.
  core::Result<std::vector<Record>> waiting(std::uint64_t before = UINT64_MAX) const;

 private:
  explicit Queue(Folder folder) : folder_(std::move(folder)) {}
  Folder folder_;
};

}  // namespace deployrun::lock
