// How many logins to one address are under way at once. sshd drops connections that have not logged in yet from the
// eleventh on (MaxStartups 10:30:100), at random: whoever knocks less often gets in sooner.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/loop.hpp"

namespace deployrun::ssh {

class Doors {
 public:
  static constexpr std::size_t kAtOnce = 8;

  explicit Doors(core::Loop& loop) : loop_(loop) {}

  /// `entered` is called once, maybe before this returns. Whoever holds the token is inside or in the queue; letting go
  /// of it leaves.
  std::shared_ptr<void> enter(const std::string& address, std::function<void()> entered);

 private:
  struct Visit;
  struct Door {
    std::size_t inside = 0;
    std::deque<std::weak_ptr<Visit>> queue;
  };
  void left(const std::string& address);

  core::Loop& loop_;
  std::map<std::string, Door> doors_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::ssh
