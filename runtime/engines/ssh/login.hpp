// From a decided target to a session: check who the host is, prove who we are. Nothing of ours is shown to a host that
// was not recognised.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "ssh/agent.hpp"
#include "ssh/client.hpp"
#include "ssh/config.hpp"
#include "ssh/handshake.hpp"
#include "ssh/identities.hpp"
#include "ssh/known_hosts.hpp"
#include "ssh/session.hpp"
#include "ssh/transport.hpp"

namespace deployrun::ssh {

/// Kinds: `ssh.resolve`, `ssh.connect`, `ssh.handshake` (detail `dropped`: the server hung up without a word),
/// `ssh.host_unknown`, `ssh.host_changed`, `ssh.host_revoked` (the last three with details `fingerprint`, `key_type`,
/// and of the known line `file`, `line`, `known`), `ssh.auth` (details `tried`, `skipped`, `methods`), `ssh.config`,
/// `ssh.lost`, `cancelled`.
class Login final : public core::Operation<std::shared_ptr<Session>>, private Waiter {
 public:
  Login(core::Loop& loop, std::shared_ptr<Client> client, Target target);
  ~Login() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  enum class Step { handshake, recording, identities, keys, methods, over };
  struct Signature {
    bool asked = false;
    std::optional<core::Result<std::string>> answer;
  };

  bool progress() override;
  void lost(const core::Error& error) override;
  void check_host_key(std::string blob);
  void record_host_key(std::string blob);
  core::Error host_key_error(const HostCheck& check, const std::string& blob) const;
  void authenticate();
  bool try_key();
  bool ask_methods();
  core::Error no_known_type(const core::Error& error, const std::string& offered) const;
  std::string trust() const;
  core::Error auth_error() const;
  static int on_sign(LIBSSH2_SESSION* session, unsigned char** signature, size_t* length, const unsigned char* data,
                     size_t data_length, void** abstract);
  int sign(unsigned char** signature, size_t* length, std::string_view data);
  void finish(core::Result<std::shared_ptr<Session>> result);

  core::Loop& loop_;
  std::shared_ptr<Client> client_;
  Target target_;
  Done done_;
  Step step_ = Step::handshake;
  std::shared_ptr<void> door_;  // held until the server knows us
  Handshake handshake_;
  std::unique_ptr<core::Operation<std::vector<KnownKey>>> known_job_;
  std::unique_ptr<core::Operation<core::Unit>> record_job_;
  std::unique_ptr<Agent> agent_;
  IdentityFinder finder_;
  std::string address_;
  std::vector<KnownKey> known_;
  std::shared_ptr<Transport> transport_;
  std::optional<Identities> identities_;
  std::size_t next_ = 0;
  Signature signature_;
  std::vector<std::string> tried_;
  std::string methods_;
};

}  // namespace deployrun::ssh
