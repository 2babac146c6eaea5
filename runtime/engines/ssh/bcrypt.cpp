#include "ssh/bcrypt.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <array>
#include <vector>

namespace deployrun::ssh {
namespace {

// Blowfish (Schneier 1993): its starting state is the fraction of pi, 18 words for P and 4 * 256 for S.
constexpr std::size_t kPWords = 18;
constexpr std::size_t kSWords = 1024;
constexpr std::size_t kRounds = 16;

/// A fixed-point number: word 0 before the point, the rest behind it, most significant first.
using Fixed = std::vector<std::uint32_t>;

/// Divides from word `from` on, below which all are zero; returns where the quotient begins.
std::size_t divide(Fixed& number, std::uint32_t by, std::size_t from) {
  std::uint64_t carry = 0;
  for (std::size_t i = from; i < number.size(); ++i) {
    carry = (carry << 32U) | number[i];
    number[i] = static_cast<std::uint32_t>(carry / by);
    carry %= by;
  }
  while (from < number.size() && number[from] == 0) ++from;
  return from;
}

void add(Fixed& sum, const Fixed& term, bool negative) {
  std::uint64_t carry = 0;
  for (std::size_t i = sum.size(); i-- > 0;) {
    if (negative) {
      const std::uint64_t value = std::uint64_t{sum[i]} - term[i] - carry;
      sum[i] = static_cast<std::uint32_t>(value);
      carry = (value >> 32U) & 1U;
    } else {
      const std::uint64_t value = std::uint64_t{sum[i]} + term[i] + carry;
      sum[i] = static_cast<std::uint32_t>(value);
      carry = value >> 32U;
    }
  }
}

/// sum ± factor * arctan(1/x)
void add_arctan(Fixed& sum, std::uint32_t factor, std::uint32_t x, bool negative) {
  Fixed power(sum.size(), 0);
  power[0] = factor;
  std::size_t from = divide(power, x, 0);
  for (std::uint32_t k = 1; from < power.size(); k += 2) {
    Fixed term = power;
    divide(term, k, from);
    add(sum, term, negative);
    negative = !negative;
    from = divide(power, x * x, from);
  }
}

/// pi = 16 arctan(1/5) - 4 arctan(1/239) (Machin 1706). Computed rather than listed: a thousand constants nobody
/// checks.
std::array<std::uint32_t, kPWords + kSWords> pi_fraction() {
  Fixed pi(1 + kPWords + kSWords + 2, 0);  // two words for the rounding of some 7,500 terms
  add_arctan(pi, 16, 5, false);
  add_arctan(pi, 4, 239, true);
  std::array<std::uint32_t, kPWords + kSWords> words{};
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = pi[i + 1];
  return words;
}

struct Blowfish {
  std::array<std::uint32_t, kPWords> p{};
  std::array<std::uint32_t, kSWords> s{};

  Blowfish() {
    static const auto start = pi_fraction();
    for (std::size_t i = 0; i < kPWords; ++i) p[i] = start[i];
    for (std::size_t i = 0; i < kSWords; ++i) s[i] = start[kPWords + i];
  }
  ~Blowfish() { OPENSSL_cleanse(this, sizeof *this); }

  std::uint32_t mix(std::uint32_t x) const {
    return ((s[x >> 24U] + s[256 + ((x >> 16U) & 0xffU)]) ^ s[512 + ((x >> 8U) & 0xffU)]) + s[768 + (x & 0xffU)];
  }
  void encipher(std::uint32_t& left, std::uint32_t& right) const {
    for (std::size_t i = 0; i < kRounds; i += 2) {
      left ^= p[i];
      right ^= mix(left);
      right ^= p[i + 1];
      left ^= mix(right);
    }
    const std::uint32_t last = left ^ p[kRounds];
    left = right ^ p[kRounds + 1];
    right = last;
  }

  using Digest = std::array<unsigned char, SHA512_DIGEST_LENGTH>;
  /// The next four bytes of an endlessly repeated text.
  static std::uint32_t next(const Digest& text, std::size_t& at) {
    std::uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      word = (word << 8U) | text[at];
      at = (at + 1) % text.size();
    }
    return word;
  }
  /// The expensive key schedule of bcrypt (Provos and Mazières 1999); without a salt it is Blowfish's own.
  void expand(const Digest& key, const Digest* salt) {
    std::size_t at = 0;
    for (std::uint32_t& word : p) word ^= next(key, at);
    std::size_t salt_at = 0;
    std::uint32_t left = 0;
    std::uint32_t right = 0;
    const auto fill = [&](auto& words) {
      for (std::size_t i = 0; i < words.size(); i += 2) {
        if (salt != nullptr) {
          left ^= next(*salt, salt_at);
          right ^= next(*salt, salt_at);
        }
        encipher(left, right);
        words[i] = left;
        words[i + 1] = right;
      }
    };
    fill(p);
    fill(s);
  }
};

constexpr std::size_t kBlock = 32;

/// OpenBSD's bcrypt_hash: 64 rounds of both schedules, then its magic text enciphered 64 times.
std::array<unsigned char, kBlock> bcrypt_hash(const Blowfish::Digest& passphrase, const Blowfish::Digest& salt) {
  constexpr std::string_view kMagic = "OxychromaticBlowfishSwatDynamite";
  Blowfish state;
  state.expand(passphrase, &salt);
  for (int i = 0; i < 64; ++i) {
    state.expand(salt, nullptr);
    state.expand(passphrase, nullptr);
  }
  std::array<std::uint32_t, kBlock / 4> text{};
  for (std::size_t i = 0; i < kBlock; ++i) text[i / 4] = (text[i / 4] << 8U) | static_cast<unsigned char>(kMagic[i]);
  for (int i = 0; i < 64; ++i) {
    for (std::size_t j = 0; j < text.size(); j += 2) state.encipher(text[j], text[j + 1]);
  }
  std::array<unsigned char, kBlock> out{};
  for (std::size_t i = 0; i < kBlock; ++i) out[i] = static_cast<unsigned char>(text[i / 4] >> (8U * (i % 4)));
  return out;
}

Blowfish::Digest sha512(const void* bytes, std::size_t size) {
  Blowfish::Digest digest{};
  SHA512(static_cast<const unsigned char*>(bytes), size, digest.data());
  return digest;
}

}  // namespace

std::string bcrypt_pbkdf(std::string_view passphrase, std::string_view salt, std::uint32_t rounds, std::size_t length) {
  if (passphrase.empty() || salt.empty() || salt.size() > 1024 || rounds == 0 || rounds > kBcryptRoundsLimit ||
      length == 0 || length > kBlock * kBlock) {
    return {};
  }
  Blowfish::Digest key = sha512(passphrase.data(), passphrase.size());
  const std::size_t blocks = (length + kBlock - 1) / kBlock;
  const std::size_t share = (length + blocks - 1) / blocks;
  std::string out(length, '\0');
  for (std::size_t block = 1; block <= blocks; ++block) {
    std::string counted(salt);
    for (const unsigned shift : {24U, 16U, 8U, 0U}) counted += static_cast<char>((block >> shift) & 0xffU);
    auto round = bcrypt_hash(key, sha512(counted.data(), counted.size()));
    auto sum = round;
    for (std::uint32_t i = 1; i < rounds; ++i) {
      round = bcrypt_hash(key, sha512(round.data(), round.size()));
      for (std::size_t j = 0; j < kBlock; ++j) sum[j] ^= round[j];
    }
    // Not one block after the other: each block's bytes are spread over the whole key.
    for (std::size_t i = 0; i < share; ++i) {
      const std::size_t at = i * blocks + (block - 1);
      if (at < length) out[at] = static_cast<char>(sum[i]);
    }
    OPENSSL_cleanse(round.data(), round.size());
    OPENSSL_cleanse(sum.data(), sum.size());
  }
  OPENSSL_cleanse(key.data(), key.size());
  return out;
}

}  // namespace deployrun::ssh
