// What the sessions of one program share: keys that were loaded once, connections to jump hosts, good manners at doors.
#pragma once

#include "ssh/doors.hpp"
#include "ssh/gateways.hpp"
#include "ssh/key_store.hpp"

namespace deployrun::ssh {

struct Client {
  explicit Client(core::Loop& loop) : keys(loop), doors(loop), gateways(loop) {}
  KeyStore keys;
  Doors doors;
  Gateways gateways;
};

}  // namespace deployrun::ssh
