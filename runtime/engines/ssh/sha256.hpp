// SHA-256 of bytes that come piece by piece.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <string>
#include <string_view>

#include "core/base64.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  /// 64 digits; once.
  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    return core::hex_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
  }
  /// Of what there is so far; more may be added.
  std::string so_far() const {
    Sha256 copy;
    EVP_MD_CTX_copy_ex(copy.context_.get(), context_.get());
    return copy.hex();
  }
  static std::string of(std::string_view bytes) {
    Sha256 sum;
    sum.add(bytes);
    return sum.hex();
  }

 private:
  DigestContext context_;
};

}  // namespace deployrun::ssh
