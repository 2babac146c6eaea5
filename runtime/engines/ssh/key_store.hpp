// The identity files of a run: each is read, parsed and decrypted once, on the pool, however many hosts want it at
// once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/secret.hpp"
#include "ssh/config.hpp"
#include "ssh/key.hpp"

namespace deployrun::ssh {

class KeyStore {
 public:
  using Loaded = std::function<void(const core::Result<KeyFile>&)>;

  explicit KeyStore(core::Loop& loop) : loop_(loop) {}
  KeyStore(const KeyStore&) = delete;
  KeyStore& operator=(const KeyStore&) = delete;

  /// Kinds: `ssh.key`, `files.*`. `loaded` may come before this returns; dropping `token`'s last holder cancels it.
  void load(const IdentityFile& file, const std::optional<core::Secret>& passphrase, const std::shared_ptr<void>& token,
            Loaded loaded);

 private:
  struct Entry {
    std::optional<core::Result<KeyFile>> result;
    std::unique_ptr<core::Operation<KeyFile>> job;
    std::vector<std::pair<std::weak_ptr<void>, Loaded>> waiting;
  };

  core::Loop& loop_;
  std::map<std::string, Entry> entries_;
};

}  // namespace deployrun::ssh
