#include "journal/chain.hpp"

#include <openssl/evp.h>

#include <array>
#include <stdexcept>

namespace deployrun::journal {

std::string chain_start() { return std::string(64, '0'); }

std::string chain_hash(const std::string& previous, const StoredRow& row) {
  std::string text;
  for (const std::string& field :
       {previous, std::to_string(row.number), std::to_string(row.time), row.run, row.type, row.body}) {
    text += std::to_string(field.size()) + ":" + field;
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 is not available");
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kHex[digest[i] >> 4U];
    hex += kHex[digest[i] & 0xfU];
  }
  return hex;
}

}  // namespace deployrun::journal
