// Which keys a host shows: one key exchange for each type that it has. Proves nothing about who it is.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "core/process.hpp"
#include "ssh/client.hpp"
#include "ssh/config.hpp"
#include "ssh/handshake.hpp"
#include "ssh/known_hosts.hpp"

namespace deployrun::ssh {

struct ScannedKey {
  std::string type;  ///< "ssh-ed25519"
  std::string fingerprint;
  std::string blob;
  HostVerdict verdict = HostVerdict::unknown;  ///< by the files as they are
  std::string place;                           ///< the line behind the verdict, "file:line"; empty where there is none
};

struct Scanned {
  std::string name;     ///< as known_hosts has it: "[10.0.0.7]:2222"
  std::string address;  ///< what answered
  std::string server;   ///< its version
  std::vector<std::string> files;
  std::vector<ScannedKey> keys;
};

/// Kinds: those of Handshake, `usage`, `ssh.config`.
class Scan final : public core::Operation<Scanned> {
 public:
  Scan(core::Loop& loop, std::shared_ptr<Client> client, ConnectOptions options);
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void begin(std::string_view configuration);
  void next();
  void greeted(Greeted greeted);
  void finish(core::Result<Scanned> result);

  core::Loop& loop_;
  std::shared_ptr<Client> client_;
  ConnectOptions options_;
  Done done_;
  std::unique_ptr<core::Process> process_;
  std::optional<Target> target_;
  std::vector<KnownKey> known_;
  std::unique_ptr<core::Operation<std::vector<KnownKey>>> known_job_;
  std::unique_ptr<Handshake> handshake_;
  std::deque<std::string> types_;  // still to be asked for
  bool first_ = true;
  Scanned scanned_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::ssh
