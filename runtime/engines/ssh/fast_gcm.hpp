// AES-GCM a packet at a time: libssh2 1.11.1 gives OpenSSL 16 bytes a call, which makes it five times as dear as it has
// to be (3.2 ms a MiB) and slower than ChaCha20. The linker puts ours in the place of libssh2's step for one block
// (fast_gcm.cpp), where libssh2 is an archive that has it.
#pragma once

#include <openssl/evp.h>

#include <cstddef>

namespace deployrun::ssh {

/// To be told by whoever hands received bytes to libssh2: a packet is decrypted as far as it has arrived, no further.
/// Holds for this thread, until the next call.
void gcm_arrived(const void* bytes, std::size_t size) noexcept;

/// Whether AES-GCM is the cheapest cipher here: whole packets, and a processor with instructions for AES.
bool gcm_is_fast() noexcept;

}  // namespace deployrun::ssh

// As in libssh2 1.11.1's src/crypto.h. `place` has bit 1 in a packet's first block and bit 2 in its last; not 0:
// failed.
extern "C" {
using LibsshCipher = const EVP_CIPHER* (*)();
int __real__libssh2_cipher_crypt(EVP_CIPHER_CTX** context, LibsshCipher cipher, int encrypt, unsigned char* block,
                                 std::size_t size, int place);
int __wrap__libssh2_cipher_crypt(EVP_CIPHER_CTX** context, LibsshCipher cipher, int encrypt, unsigned char* block,
                                 std::size_t size, int place);
}
