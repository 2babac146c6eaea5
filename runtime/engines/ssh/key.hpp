// Private keys from files: parsed, decrypted and used with OpenSSL, off libssh2. Its own loader would derive an
// encrypted key's cipher key on the loop's thread, twice for every host, and rebuild an RSA key each time (PERF.md §6).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

/// A usable private key. Immutable; shared by all sessions of a run.
class PrivateKey {
 public:
  PrivateKey(PKey key, std::string public_blob) : key_(std::move(key)), public_blob_(std::move(public_blob)) {}

  const std::string& public_blob() const noexcept { return public_blob_; }
  /// The inner signature (RFC 4253 §6.6 without the algorithm's name) over `data` with `algorithm` ("ssh-ed25519",
  /// "ecdsa-sha2-nistp256" …, "rsa-sha2-256", "rsa-sha2-512"). Empty for an algorithm that is not this key's, SHA-1
  /// with RSA included.
  std::string sign(std::string_view algorithm, std::string_view data) const;

 private:
  PKey key_;
  std::string public_blob_;
};

/// What a key file holds.
struct KeyFile {
  std::shared_ptr<const PrivateKey> key;  ///< nullptr: encrypted and no passphrase was given
  std::string public_blob;                ///< known even then for OpenSSH's own format; else empty
  bool encrypted = false;
};

inline constexpr std::size_t kKeyFileLimit = 64U << 10U;

/// OpenSSH's format (openssh-key-v1), PKCS#1/SEC1 PEM and PKCS#8; ed25519, ecdsa, RSA from 2048 bits. Kind `ssh.key`:
/// not a key, another type, damaged, wrong passphrase. Slow for an encrypted key: for pool jobs.
core::Result<KeyFile> parse_key(std::string_view text, std::string_view passphrase);

/// The blob of the first line of a .pub file; empty when it is none.
std::string parse_public_key(std::string_view text);

}  // namespace deployrun::ssh
