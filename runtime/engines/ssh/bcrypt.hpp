// bcrypt_pbkdf: what turns the passphrase of an OpenSSH private key into its cipher key. OpenSSL has no part of it.
// Slow by design (some 100 ms): for pool jobs only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace deployrun::ssh {

/// More rounds than this are refused: a hostile key file must not occupy a pool thread for hours.
inline constexpr std::uint32_t kBcryptRoundsLimit = 4096;

/// `length` bytes of key. Empty for arguments outside the format's bounds (no passphrase, no salt, rounds 0 or too
/// many).
std::string bcrypt_pbkdf(std::string_view passphrase, std::string_view salt, std::uint32_t rounds, std::size_t length);

}  // namespace deployrun::ssh
