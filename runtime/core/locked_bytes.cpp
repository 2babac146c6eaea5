#include "core/locked_bytes.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>

namespace deployrun::core {

namespace {

// Few pages at once: a system may lock no more than 64 KiB for a process.
constexpr std::size_t kChunk = 16U << 10U;

std::atomic<int> refused{0};

std::size_t rounded(std::size_t size) { return (size + kChunk - 1) / kChunk * kChunk; }

char* map_pages(std::size_t size) {
  void* pages = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  ::madvise(pages, size, MADV_DONTDUMP);
  ::madvise(pages, size, MADV_WIPEONFORK);
  // Not mlock(), which the sanitizers make do nothing.
  if (::mlock2(pages, size, 0) != 0) {
    int none = 0;
    refused.compare_exchange_strong(none, errno);
  }
  return static_cast<char*>(pages);
}

}  // namespace

struct LockedBytes::Chunk {
  char* pages;
  std::size_t size;
  std::size_t used = 0;  // given out, from the front
  std::size_t live = 0;  // pieces not let go of yet
};

/// Gives out pieces of the newest chunk; a chunk goes back to the system with the last of its pieces.
class LockedBytes::Store {
 public:
  char* take(std::size_t size, Chunk*& chunk) {
    const std::lock_guard lock(mutex_);
    if (newest_ == nullptr || newest_->size - newest_->used < size) {
      auto* made = new Chunk{map_pages(rounded(size)), rounded(size)};
      if (newest_ != nullptr && newest_->live == 0) unmap(newest_);
      newest_ = made;
    }
    chunk = newest_;
    char* piece = chunk->pages + chunk->used;
    chunk->used += size;
    ++chunk->live;
    return piece;
  }

  void give_back(Chunk* chunk) noexcept {
    const std::lock_guard lock(mutex_);
    if (--chunk->live != 0) return;
    if (chunk == newest_) {
      chunk->used = 0;  // all of it is zero again
    } else {
      unmap(chunk);
    }
  }

 private:
  static void unmap(Chunk* chunk) noexcept {
    ::munmap(chunk->pages, chunk->size);
    delete chunk;
  }

  std::mutex mutex_;
  Chunk* newest_ = nullptr;
};

/// Pages and their locks belong to the process; never destroyed, so that no order of ends matters.
LockedBytes::Store& LockedBytes::store() {
  static Store* const kStore = new Store;
  return *kStore;
}

LockedBytes::LockedBytes(std::string_view bytes) : size_(bytes.size()) {
  if (bytes.empty()) return;
  data_ = store().take(size_, chunk_);
  std::memcpy(data_, bytes.data(), size_);
}

LockedBytes::~LockedBytes() {
  if (chunk_ == nullptr) return;
  explicit_bzero(data_, size_);
  store().give_back(chunk_);
}

int lock_refused() noexcept { return refused.load(); }

}  // namespace deployrun::core
