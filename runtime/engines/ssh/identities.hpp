// Which keys are offered to a server, in which order: what the agent holds and what lies in files, brought together.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ssh/agent.hpp"
#include "ssh/config.hpp"
#include "ssh/key_store.hpp"

namespace deployrun::ssh {

struct Identity {
  std::string blob;
  std::string label;                      ///< for messages: where it is and its fingerprint
  std::shared_ptr<const PrivateKey> key;  ///< nullptr: the agent signs
};

struct Identities {
  std::vector<Identity> offered;
  std::vector<std::string> skipped;  ///< what could not be offered and why
};

/// What is known of one identity file.
struct LoadedFile {
  IdentityFile file;
  core::Result<KeyFile> loaded;
};

/// OpenSSH's order, but for files that somebody named: those come before the agent's other keys, since servers count.
/// 1. the agent's keys that belong to an identity file, 2. named files, 3. the agent's other keys (unless
/// `identities_only`), 4. files in the default places. Pure.
Identities order_identities(const std::vector<LoadedFile>& files, const std::vector<AgentKey>& agent,
                            bool identities_only);

/// Loads files and asks the agent. `found` comes once, maybe before `start` returns; never after destruction.
class IdentityFinder {
 public:
  /// `agent` may be nullptr.
  IdentityFinder(KeyStore& store, const Target& target, Agent* agent) : store_(store), target_(target), agent_(agent) {}
  void start(std::function<void(Identities)> found);

 private:
  void arrived();

  KeyStore& store_;
  const Target& target_;
  Agent* agent_;
  std::function<void(Identities)> found_;
  std::vector<LoadedFile> files_;
  std::vector<AgentKey> keys_;
  std::string agent_failure_;
  std::size_t missing_ = 0;
  std::shared_ptr<void> token_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::ssh
