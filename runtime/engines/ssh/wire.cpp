#include "ssh/wire.hpp"

#include <openssl/sha.h>

#include <array>

#include "core/base64.hpp"

namespace deployrun::ssh {

std::optional<std::string_view> WireReader::bytes(std::size_t count) {
  if (broken_ || rest_.size() < count) {
    broken_ = true;
    return {};
  }
  const std::string_view taken = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return taken;
}

std::optional<std::uint8_t> WireReader::byte() {
  const auto taken = bytes(1);
  if (!taken) return {};
  return static_cast<std::uint8_t>(taken->front());
}

std::optional<std::uint32_t> WireReader::u32() {
  const auto taken = bytes(4);
  if (!taken) return {};
  std::uint32_t value = 0;
  for (const char byte : *taken) value = (value << 8U) | static_cast<std::uint8_t>(byte);
  return value;
}

std::optional<std::string_view> WireReader::string() {
  const auto length = u32();
  if (!length) return {};
  return bytes(*length);
}

void put_u32(std::string& to, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) to += static_cast<char>((value >> shift) & 0xffU);
}

void put_string(std::string& to, std::string_view value) {
  put_u32(to, static_cast<std::uint32_t>(value.size()));
  to += value;
}

void put_mpint(std::string& to, std::string_view magnitude) {
  while (!magnitude.empty() && magnitude.front() == '\0') magnitude.remove_prefix(1);
  const bool pad = !magnitude.empty() && (static_cast<std::uint8_t>(magnitude.front()) & 0x80U) != 0;
  put_u32(to, static_cast<std::uint32_t>(magnitude.size() + (pad ? 1 : 0)));
  if (pad) to += '\0';
  to += magnitude;
}

std::string_view blob_type(std::string_view blob) { return WireReader(blob).string().value_or(std::string_view{}); }

std::string fingerprint(std::string_view public_blob) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(public_blob.data()), public_blob.size(), digest.data());
  return "SHA256:" + core::base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()},
                                         core::Base64::standard, false);
}

}  // namespace deployrun::ssh
