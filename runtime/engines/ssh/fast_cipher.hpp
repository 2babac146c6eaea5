// What the linker puts in the place of libssh2's ChaCha20 and Poly1305 (fast_cipher.cpp), and what was there. For that
// file and its test.
#pragma once

#include <cstddef>
#include <cstdint>

// As in libssh2's src/chacha.h and src/poly1305.h. Lengths are `unsigned` or `size_t` there, by version; below 4 GiB
// these are the same in a register.
extern "C" {
/// RFC 7539's sixteen words: four constants, the key, the block counter and the nonce (64 bits each with libssh2).
struct ChachaState {
  std::uint32_t input[16];
};
void __real_chacha_encrypt_bytes(ChachaState* state, const unsigned char* from, unsigned char* to, std::size_t size);
void __wrap_chacha_encrypt_bytes(ChachaState* state, const unsigned char* from, unsigned char* to, std::size_t size);
void __real_poly1305_auth(unsigned char* tag, const unsigned char* from, std::size_t size, const unsigned char* key);
void __wrap_poly1305_auth(unsigned char* tag, const unsigned char* from, std::size_t size, const unsigned char* key);
}
