#include "ssh/doors.hpp"

#include <utility>

namespace deployrun::ssh {

struct Doors::Visit {
  Doors* doors = nullptr;
  std::weak_ptr<bool> alive;
  std::string address;
  std::function<void()> entered;
  bool inside = false;
  ~Visit() {
    if (inside && !alive.expired()) doors->left(address);
  }
};

std::shared_ptr<void> Doors::enter(const std::string& address, std::function<void()> entered) {
  auto visit = std::make_shared<Visit>();
  visit->doors = this;
  visit->alive = alive_;
  visit->address = address;
  Door& door = doors_[address];
  if (door.inside < kAtOnce) {
    ++door.inside;
    visit->inside = true;
    entered();
  } else {
    visit->entered = std::move(entered);
    door.queue.push_back(visit);
  }
  return visit;
}

void Doors::left(const std::string& address) {
  const auto found = doors_.find(address);
  Door& door = found->second;
  --door.inside;
  while (!door.queue.empty()) {
    const auto next = door.queue.front().lock();
    door.queue.pop_front();
    if (!next) continue;
    ++door.inside;
    next->inside = true;
    // Not from inside whoever is leaving.
    loop_.defer([visit = std::weak_ptr<Visit>(next)] {
      const auto live = visit.lock();
      if (live) std::exchange(live->entered, nullptr)();
    });
    return;
  }
  if (door.inside == 0) doors_.erase(found);
}

}  // namespace deployrun::ssh
