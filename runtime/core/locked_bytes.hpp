// Bytes that stay in memory alone: pages locked against swapping, left out of core dumps, empty in a forked child,
// zeroed when they are let go of.
#pragma once

#include <cstddef>
#include <string_view>

namespace deployrun::core {

/// A copy of some bytes in such memory. Immovable: what looks into it stays right. May be made on any thread.
class LockedBytes {
 public:
  /// Throws bad_alloc where there is no memory at all. Where the system locks no more (RLIMIT_MEMLOCK) it is memory
  /// like any other, but for the lock, and `lock_refused` tells.
  explicit LockedBytes(std::string_view bytes);
  ~LockedBytes();
  LockedBytes(const LockedBytes&) = delete;
  LockedBytes& operator=(const LockedBytes&) = delete;

  std::string_view view() const noexcept { return {data_, size_}; }

 private:
  struct Chunk;
  class Store;
  static Store& store();

  char* data_ = nullptr;
  std::size_t size_ = 0;
  Chunk* chunk_ = nullptr;  // none for no bytes
};

/// The errno of the first page that could not be locked; 0 while all are.
int lock_refused() noexcept;

}  // namespace deployrun::core
