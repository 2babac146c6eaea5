// From a decided target to a server that has shown its key: connect, exchange keys. Nothing of ours is shown, and what
// to think of the key is somebody else's business (login.hpp, scan.hpp).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "ssh/client.hpp"
#include "ssh/config.hpp"
#include "ssh/connector.hpp"
#include "ssh/hello.hpp"
#include "ssh/transport.hpp"

namespace deployrun::ssh {

struct Greeted {
  std::shared_ptr<Transport> transport;
  std::string address;  ///< "10.0.0.7:22", "10.0.0.7:22 through bastion"
  std::string key;      ///< the server's public key blob
  ServerHello hello;
  std::shared_ptr<void> door;  ///< to be held until the login is over (doors.hpp)
};

/// Kinds: `ssh.resolve`, `ssh.connect`, `ssh.handshake` (details `dropped`: the server hung up without a word;
/// `host_keys`: it has none of the types that were asked for, but these), what a jump host fails with, `cancelled`.
class Handshake final : public core::Operation<Greeted>, private Waiter {
 public:
  /// `target` outlives it.
  Handshake(core::Loop& loop, std::shared_ptr<Client> client, const Target& target);
  ~Handshake() override;
  void start(Done done) override;
  void cancel() noexcept override;

  /// The host-key types to ask for, as LIBSSH2_METHOD_HOSTKEY has them. Keys are exchanged once this is known, before
  /// or after the start.
  void prefer(std::string types);

 private:
  bool progress() override;
  void lost(const core::Error& error) override;
  void connect();
  void exchange();
  core::Error no_common_method() const;
  void finish(core::Result<Greeted> result);

  core::Loop& loop_;
  std::shared_ptr<Client> client_;
  const Target& target_;
  Done done_;
  std::shared_ptr<void> door_;
  std::unique_ptr<core::Operation<Connected>> connector_;
  std::optional<Connected> connected_;
  std::string types_;
  std::string address_;
  std::shared_ptr<Transport> transport_;
  core::Timer limit_;
};

}  // namespace deployrun::ssh
