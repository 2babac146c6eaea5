// The few data types of RFC 4251 §5 that keys, signatures and the agent's messages are made of. Everything read comes
// from elsewhere: lengths are checked, nothing is copied before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace deployrun::ssh {

/// Takes values from the front of a text that must outlive it. After the first value that does not fit, all are absent.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  std::optional<std::uint8_t> byte();
  std::optional<std::uint32_t> u32();
  /// `string` and `mpint`: a view into the text.
  std::optional<std::string_view> string();
  std::optional<std::string_view> bytes(std::size_t count);
  std::string_view rest() const noexcept { return rest_; }
  bool empty() const noexcept { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool broken_ = false;
};

void put_u32(std::string& to, std::uint32_t value);
void put_string(std::string& to, std::string_view value);
/// A positive number given as big-endian bytes, with or without leading zeros.
void put_mpint(std::string& to, std::string_view magnitude);

/// "ssh-ed25519" of a public key's (or a signature's) blob; empty when it is not one.
std::string_view blob_type(std::string_view blob);
/// What `ssh-keygen -l` prints: "SHA256:" and base64 without padding.
std::string fingerprint(std::string_view public_blob);

}  // namespace deployrun::ssh
