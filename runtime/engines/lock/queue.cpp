#include "lock/queue.hpp"

#include <algorithm>
#include <utility>

namespace deployrun::lock {

namespace {

constexpr std::string_view kPrefix = "wait-";

std::string name_of(std::uint64_t number) { return std::string(kPrefix) + std::to_string(number); }

}  // namespace

Queue::Place::Place(Folder folder, std::uint64_t number, HeldFile file)
    : folder_(std::move(folder)), number_(number), file_(std::move(file)) {}

Queue::Place::Place(Place&& other) noexcept
    : folder_(std::move(other.folder_)), number_(std::exchange(other.number_, 0)), file_(std::move(other.file_)) {}

Queue::Place::~Place() {
  if (number_ != 0) folder_.remove(name_of(number_));
}

core::Result<Queue> Queue::open(const std::string& folder) {
  auto opened = Folder::open(folder);
  if (!opened) return std::move(opened).error();
  return Queue(std::move(opened).value());
}

core::Result<Queue::Place> Queue::join(const Claim& claim) const {
  for (;;) {
    const auto last = folder_.highest(kPrefix);
    if (!last) return last.error();
    const std::uint64_t number = *last + 1;
    auto file = folder_.add(name_of(number), to_text({.claim = claim, .token = number}), true);
    if (!file) return std::move(file).error();
    if (*file) return Place(folder_, number, std::move(**file));
  }
}

core::Result<std::vector<Record>> Queue::waiting(std::uint64_t before) const {
  auto numbers = folder_.numbers(kPrefix);
  if (!numbers) return std::move(numbers).error();
  std::sort(numbers->begin(), numbers->end());
  std::vector<Record> found;
  for (const std::uint64_t number : *numbers) {
    if (number >= before) break;
    const auto seen = folder_.look(name_of(number));
    if (!seen) return seen.error();
    if (!*seen) continue;
    auto record = from_text((*seen)->text, number);
    if ((*seen)->alive && record) {
      found.push_back(std::move(*record));
    } else if (!(*seen)->alive) {
      folder_.remove(name_of(number));  // its waiter is gone
    }
  }
  return found;
}

}  // namespace deployrun::lock
