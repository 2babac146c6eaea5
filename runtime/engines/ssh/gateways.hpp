// Jump hosts: one connection to each, whoever goes through it. A session to a host behind it runs over a channel of
// that connection (direct-tcpip), which sshd's MaxSessions does not count.
//
// Channels are opened one at a time (session.hpp): a host that does not answer holds up those behind it. So a gateway
// whose opening takes too long is left to the one who waits for it, and everybody else goes on over a new one.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "ssh/config.hpp"
#include "ssh/connector.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

struct Client;
class Connect;

class Gateways {
 public:
  /// An opening that takes longer is holding up others.
  static constexpr core::Milliseconds kStall{2000};
  using Reached = std::function<void(core::Result<std::shared_ptr<Session>>)>;

  explicit Gateways(core::Loop& loop);
  ~Gateways();
  Gateways(const Gateways&) = delete;
  Gateways& operator=(const Gateways&) = delete;

  core::Loop& loop() noexcept { return loop_; }
  /// The session to a jump host, made where there is none. `reached` is called once, never before this returns;
  /// destroying the token before that gives it up.
  std::shared_ptr<void> reach(const std::shared_ptr<Client>& client, const ConnectOptions& jump, Reached reached);
  /// Whether this is the session that the next one to ask would get.
  bool current(const ConnectOptions& jump, const std::shared_ptr<Session>& session) const;
  /// Nobody else gets this session any more.
  void leave(const ConnectOptions& jump, const std::shared_ptr<Session>& session);

 private:
  struct Gateway;
  void connected(const std::string& key, Gateway* gateway, const core::Result<std::shared_ptr<Session>>& result);

  core::Loop& loop_;
  std::map<std::string, std::shared_ptr<Gateway>> gateways_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A connection to a host behind a jump host. Kinds: `ssh.connect` (the jump host cannot reach it), those of Connect
/// where the jump host itself cannot be reached, `ssh.lost`, `cancelled`.
class JumpConnector final : public core::Operation<Connected> {
 public:
  JumpConnector(std::shared_ptr<Client> client, ConnectOptions jump, std::string host, unsigned port,
                core::Milliseconds timeout);
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void reach();
  void open(std::shared_ptr<Session> session);
  void watch();
  std::string address() const;
  void finish(core::Result<Connected> result);

  std::shared_ptr<Client> client_;
  ConnectOptions jump_;
  std::string host_;
  unsigned port_;
  core::Milliseconds timeout_;
  Done done_;
  std::shared_ptr<void> reaching_;
  std::shared_ptr<Session> session_;
  std::shared_ptr<void> opening_;
  core::Timer stall_;
  core::Timer limit_;
};

}  // namespace deployrun::ssh
