// ChaCha20-Poly1305 at the processor's speed: libssh2 1.11.1 has a portable one of its own, 80 % of a transfer's time
// here (2.6 ms a MiB). The linker puts these two in the place of its (--wrap, runtime/CMakeLists.txt), where libssh2 is
// an archive that has them; with a shared libssh2 this file is left out. Both do what the originals do, bit for bit:
// fast_cipher_test.cpp compares them.
#include "ssh/fast_cipher.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "ssh/handles.hpp"

namespace {

using namespace deployrun::ssh;

// Below this setting OpenSSL up costs more than it gains.
constexpr std::size_t kSmall = 512;
constexpr std::size_t kBlock = 64;

using Mac = std::unique_ptr<EVP_MAC, Deleter<EVP_MAC_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Deleter<EVP_MAC_CTX_free>>;

/// A cipher that fails must not pass for one that worked, and libssh2's has no way to say so.
void must(bool worked) {
  if (!worked) std::abort();
}

EVP_CIPHER_CTX* cipher() {
  static thread_local const CipherContext context = [] {
    CipherContext made(EVP_CIPHER_CTX_new());
    must(made && EVP_EncryptInit_ex(made.get(), EVP_chacha20(), nullptr, nullptr, nullptr) == 1);
    return made;
  }();
  return context.get();
}

EVP_MAC_CTX* mac() {
  static thread_local const MacContext context = [] {
    const Mac method(EVP_MAC_fetch(nullptr, "POLY1305", nullptr));
    must(method != nullptr);
    return MacContext(EVP_MAC_CTX_new(method.get()));
  }();
  must(context != nullptr);
  return context.get();
}

}  // namespace

void __wrap_chacha_encrypt_bytes(ChachaState* state, const unsigned char* from, unsigned char* to, std::size_t size) {
  size = static_cast<std::uint32_t>(size);
  if (size <= kSmall) return __real_chacha_encrypt_bytes(state, from, to, size);
  const auto* words = reinterpret_cast<const unsigned char*>(state->input);  // little-endian, as OpenSSL takes them
  int written = 0;
  must(EVP_EncryptInit_ex(cipher(), nullptr, nullptr, words + 16, words + 48) == 1);
  must(EVP_EncryptUpdate(cipher(), to, &written, from, static_cast<int>(size)) == 1);
  const std::uint64_t blocks = (size + kBlock - 1) / kBlock;
  const std::uint64_t counter = ((std::uint64_t{state->input[13]} << 32U) | state->input[12]) + blocks;
  state->input[12] = static_cast<std::uint32_t>(counter);
  state->input[13] = static_cast<std::uint32_t>(counter >> 32U);
}

void __wrap_poly1305_auth(unsigned char* tag, const unsigned char* from, std::size_t size, const unsigned char* key) {
  size = static_cast<std::uint32_t>(size);
  if (size <= kSmall) return __real_poly1305_auth(tag, from, size, key);
  std::size_t written = 0;
  must(EVP_MAC_init(mac(), key, 32, nullptr) == 1);
  must(EVP_MAC_update(mac(), from, size) == 1);
  must(EVP_MAC_final(mac(), tag, &written, 16) == 1 && written == 16);
}
