// libssh2 goes through a packet in place, block after block. With its first block we know the packet's length (4 bytes
// that are not encrypted) and do all the rest that is there at once; for the calls that follow nothing is left to do.
// GCM is a stream: where it is cut makes no difference to the bytes or to the tag.
//
// Invariant: a call is answered without work only if its bytes are, in order, the very ones that were done ahead. Any
// other call while some are left fails, and with it the connection: nothing travels unencrypted or is encrypted twice.
#include "ssh/fast_gcm.hpp"

#ifdef __aarch64__
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>

#ifdef DEPLOYRUN_FAST_CIPHER

namespace {

constexpr int kFirst = 1;
constexpr int kLast = 2;
constexpr std::size_t kBlock = 16;
constexpr std::size_t kLengthField = 4;
constexpr std::size_t kLongest = 35000;  // MAX_SSH_PACKET_LEN of libssh2, the size of its buffers

/// A packet that is under way with this context.
struct Packet {
  const EVP_CIPHER_CTX* context = nullptr;
  std::size_t left = 0;  // bytes before the tag that nobody has done yet
};

/// What was done ahead and libssh2 has not asked for yet. It does so before it turns to anything else.
struct Ahead {
  const EVP_CIPHER_CTX* context = nullptr;
  const unsigned char* next = nullptr;
  const unsigned char* end = nullptr;
};

struct Arrived {
  const unsigned char* begin = nullptr;
  const unsigned char* end = nullptr;
};

thread_local Arrived arrived;
thread_local Ahead ahead;

/// A place for each context, or one that several take turns with: who finds another's packet there goes block by block
/// until its own next packet begins.
Packet& packet_of(const EVP_CIPHER_CTX* context) {
  static thread_local std::array<Packet, 256> packets;
  return packets[(reinterpret_cast<std::uintptr_t>(context) >> 4U) % packets.size()];
}

/// How many bytes from `at` on have arrived. Less than a block may have been moved to the buffer's start before.
std::size_t here(const unsigned char* at) {
  const auto place = reinterpret_cast<std::uintptr_t>(at);
  const auto begin = reinterpret_cast<std::uintptr_t>(arrived.begin);
  const auto end = reinterpret_cast<std::uintptr_t>(arrived.end);
  return place + kBlock > begin && place < end ? end - place : 0;
}

std::size_t length_of(const unsigned char* block) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthField; ++i) length = (length << 8U) | block[i];
  return length;
}

}  // namespace

int __wrap__libssh2_cipher_crypt(EVP_CIPHER_CTX** context, LibsshCipher cipher, int encrypt, unsigned char* block,
                                 std::size_t size, int place) {
  const auto waiting = static_cast<std::size_t>(ahead.end - ahead.next);
  if (block == ahead.next && ahead.context == *context && place == 0 && size <= waiting) {
    ahead.next += size;
    return 0;
  }
  if (cipher != &EVP_aes_128_gcm && cipher != &EVP_aes_256_gcm) {
    return __real__libssh2_cipher_crypt(context, cipher, encrypt, block, size, place);
  }
  const bool first = (place & kFirst) != 0;
  if (ahead.context == *context && waiting > 0) {
    if (!first) return 1;
    ahead = {};  // of a connection that ended in the middle, whose place this one has got
  }
  Packet& packet = packet_of(*context);
  if (__real__libssh2_cipher_crypt(context, cipher, encrypt, block, size, place) != 0) return 1;
  if (first) {
    const std::size_t length = length_of(block);
    packet = {.context = *context};
    if (size == kBlock && length >= kBlock && length + kLengthField <= kLongest) {
      packet.left = length + kLengthField - kBlock;
    }
  } else if (packet.context == *context) {
    packet.left -= std::min(packet.left, size);
  }
  if (packet.context != *context || (place & kLast) != 0) return 0;
  unsigned char* from = block + size;
  // What came from the network is gone through in whole blocks, and its last one together with the tag.
  const std::size_t now = encrypt != 0 ? packet.left : std::min(packet.left, here(from)) / kBlock * kBlock;
  if (now == 0) return 0;
  if (EVP_Cipher(*context, from, from, static_cast<unsigned>(now)) != static_cast<int>(now)) return 1;
  packet.left -= now;
  ahead = {.context = *context, .next = from, .end = from + now};
  return 0;
}

namespace deployrun::ssh {

void gcm_arrived(const void* bytes, std::size_t size) noexcept {
  const auto* begin = static_cast<const unsigned char*>(bytes);
  arrived = {begin, begin + size};
}

bool gcm_is_fast() noexcept {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__)
  return (::getauxval(AT_HWCAP) & HWCAP_AES) != 0 && (::getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#else
  return false;
#endif
}

}  // namespace deployrun::ssh

#else

namespace deployrun::ssh {

void gcm_arrived(const void*, std::size_t) noexcept {}
bool gcm_is_fast() noexcept { return false; }

}  // namespace deployrun::ssh

#endif
