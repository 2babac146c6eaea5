// From a name and a port to a connected TCP socket: lookup on the pool, then the addresses in the resolver's order, the
// next one started when one fails or has not answered within a quarter of a second (RFC 8305).
#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

class Carrier;

struct Connected {
  Descriptor socket;                 ///< non-blocking, TCP_NODELAY
  std::string address;               ///< "10.0.0.7:22", "[::1]:22"
  std::shared_ptr<Carrier> carrier;  ///< what the connection runs over, where that is not the network
};

/// Kinds: `ssh.resolve`, `ssh.connect`, `cancelled`. `timeout` is for the connecting, all addresses together.
class Connector final : public core::Operation<Connected> {
 public:
  Connector(core::Loop& loop, std::string host, unsigned port, core::Milliseconds timeout);
  ~Connector() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  struct Lookup;
  struct Attempt;
  struct Address {
    sockaddr_storage bytes{};
    socklen_t length = 0;
    std::string text;
  };

  void resolved(int status, const addrinfo* list);
  void next_attempt();
  void attempt_ready(Attempt* attempt);
  void finish(core::Result<Connected> result);

  core::Loop& loop_;
  std::string host_;
  unsigned port_;
  core::Milliseconds timeout_;
  Done done_;
  Lookup* lookup_ = nullptr;
  std::vector<Address> addresses_;
  std::size_t next_ = 0;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  std::string failures_;
  core::Timer stagger_;
  core::Timer limit_;
};

}  // namespace deployrun::ssh
