// OpenSSL's ChaCha20 and Poly1305 in the place of libssh2's own: the same bytes, whatever the length.
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <random>
#include <vector>

#ifdef DEPLOYRUN_FAST_CIPHER

#include "ssh/fast_cipher.hpp"

TEST_CASE("a packet's cipher and its tag are libssh2's, bit for bit") {
  std::mt19937 random(1);
  for (const std::size_t size : {0U, 4U, 64U, 511U, 512U, 513U, 575U, 576U, 577U, 4096U, 32777U, 35000U}) {
    INFO(size);
    ChachaState one{};
    for (auto& word : one.input) word = static_cast<std::uint32_t>(random());
    const std::array<std::uint32_t, 4> constants = {0x61707865U, 0x3320646eU, 0x79622d32U, 0x6b206574U};
    std::copy(constants.begin(), constants.end(), one.input);
    one.input[12] = static_cast<std::uint32_t>(size % 3);  // a packet begins at 0 or 1
    one.input[13] = 0;
    ChachaState other = one;
    std::vector<unsigned char> from(size), by_libssh2(size), by_us(size);
    for (auto& byte : from) byte = static_cast<unsigned char>(random());
    __real_chacha_encrypt_bytes(&one, from.data(), by_libssh2.data(), size);
    __wrap_chacha_encrypt_bytes(&other, from.data(), by_us.data(), size);
    CHECK((by_libssh2 == by_us));
    CHECK(std::equal(std::begin(one.input), std::end(one.input), std::begin(other.input)));
    std::array<unsigned char, 32> key{};
    for (auto& byte : key) byte = static_cast<unsigned char>(random());
    std::array<unsigned char, 16> tag{}, our_tag{};
    __real_poly1305_auth(tag.data(), from.data(), size, key.data());
    __wrap_poly1305_auth(our_tag.data(), from.data(), size, key.data());
    CHECK((tag == our_tag));
  }
}

#else

TEST_CASE("a packet's cipher and its tag are libssh2's, bit for bit") { SKIP("this libssh2 keeps its own cipher"); }

#endif
