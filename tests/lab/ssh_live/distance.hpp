// A forwarder on loopback that holds every byte back, each way: a server far away.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace live {

class Distance {
 public:
  /// Listens on a port of its own and leads to `port`; one connection.
  Distance(unsigned port, std::chrono::milliseconds each_way);
  ~Distance();
  Distance(const Distance&) = delete;
  Distance& operator=(const Distance&) = delete;
  unsigned port() const { return port_; }

 private:
  void run(unsigned to, std::chrono::milliseconds each_way);

  int listener_ = -1;
  unsigned port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace live
