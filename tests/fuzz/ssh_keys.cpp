// Private and public key files. The bytes are tried as they are, and as the content of an OpenSSH key file, so that the
// fuzzer need not learn base64.
#include "core/base64.hpp"
#include "fuzz.hpp"
#include "ssh/key.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  if (bytes.size() > ssh::kKeyFileLimit) return;
  (void)ssh::parse_public_key(bytes);
  // Without a passphrase no key is derived: that would be bcrypt's time, not ours.
  const auto use = [](std::string_view text) {
    const auto file = ssh::parse_key(text, "");
    if (!file) return check(!file.error().message.empty());
    if (file->key) check(!file->key->public_blob().empty());
  };
  use(bytes);
  use("-----BEGIN OPENSSH PRIVATE KEY-----\n" +
      core::base64_encode(std::string("openssh-key-v1\0", 15) + std::string(bytes)) +
      "\n-----END OPENSSH PRIVATE KEY-----\n");
  use("-----BEGIN PRIVATE KEY-----\n" + core::base64_encode(bytes) + "\n-----END PRIVATE KEY-----\n");
}

}  // namespace deployrun::fuzz
