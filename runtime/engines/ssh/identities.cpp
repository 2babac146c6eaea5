#include "ssh/identities.hpp"

#include <algorithm>
#include <set>

#include "ssh/wire.hpp"

namespace deployrun::ssh {

Identities order_identities(const std::vector<LoadedFile>& files, const std::vector<AgentKey>& agent,
                            bool identities_only) {
  Identities all;
  std::set<std::string> offered;
  const auto offer = [&](const std::string& blob, const std::string& where, std::shared_ptr<const PrivateKey> key) {
    if (!offered.insert(blob).second) return;
    all.offered.push_back(
        {blob, where + " (" + std::string(blob_type(blob)) + " " + fingerprint(blob) + ")", std::move(key)});
  };
  const auto held = [&agent](const std::string& blob) {
    return std::any_of(agent.begin(), agent.end(), [&blob](const AgentKey& key) { return key.blob == blob; });
  };
  const auto offer_files = [&](bool wanted) {
    for (const LoadedFile& one : files) {
      if (one.file.wanted != wanted) continue;
      if (!one.loaded) {
        if (wanted || !one.loaded.error().is("files.not_found")) all.skipped.push_back(one.loaded.error().message);
      } else if (one.loaded->key) {
        offer(one.loaded->public_blob, one.file.path, one.loaded->key);
      } else if (!held(one.loaded->public_blob)) {
        all.skipped.push_back(one.file.path + (one.loaded->encrypted
                                                   ? ": encrypted, and no passphrase was given"
                                                   : ": a public key, and the agent does not hold its other half"));
      }
    }
  };
  for (const LoadedFile& one : files) {
    if (one.loaded && !one.loaded->public_blob.empty() && held(one.loaded->public_blob)) {
      offer(one.loaded->public_blob, "agent, " + one.file.path, nullptr);
    }
  }
  offer_files(true);
  if (!identities_only) {
    for (const AgentKey& key : agent) offer(key.blob, "agent, " + key.comment, nullptr);
  }
  offer_files(false);
  return all;
}

void IdentityFinder::start(std::function<void(Identities)> found) {
  found_ = std::move(found);
  missing_ = target_.identity_files.size() + 1;
  for (const IdentityFile& file : target_.identity_files) {
    files_.push_back({file, core::Error{.kind = "ssh.key", .message = file.path + ": not read yet"}});
  }
  for (std::size_t i = 0; i < files_.size(); ++i) {
    store_.load(files_[i].file, target_.passphrase, token_, [this, i](const core::Result<KeyFile>& loaded) {
      files_[i].loaded = loaded;
      arrived();
    });
  }
  if (agent_ == nullptr) return arrived();
  agent_->list([this](core::Result<std::vector<AgentKey>> keys) {
    if (keys) {
      keys_ = std::move(keys).value();
    } else {
      agent_failure_ = keys.error().message;
    }
    arrived();
  });
}

void IdentityFinder::arrived() {
  if (--missing_ > 0) return;
  Identities all = order_identities(files_, keys_, target_.identities_only);
  if (!agent_failure_.empty()) all.skipped.push_back(agent_failure_);
  const auto found = std::exchange(found_, nullptr);
  found(std::move(all));
}

}  // namespace deployrun::ssh
