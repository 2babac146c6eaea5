#include "ssh/methods.hpp"

#include <algorithm>
#include <string_view>

#include "core/text.hpp"
#include "ssh/fast_gcm.hpp"

namespace deployrun::ssh {
namespace {

// What has no known weakness; libssh2's own lists still end in CBC and MD5. Its key-exchange list is left alone: it
// carries the markers of strict key exchange and of server-sig-algs.
constexpr const char* kCiphers =
    "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
constexpr const char* kCiphersWhereGcmIsFast =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
constexpr const char* kMacs = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
constexpr const char* kChaCha = "chacha20-poly1305@openssh.com";

const char* ciphers() { return gcm_is_fast() ? kCiphersWhereGcmIsFast : kCiphers; }

bool has(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

/// RFC 4253 §7.1: the client's first that the server has too; empty: none.
std::string_view chosen(const std::vector<std::string>& theirs) {
  for (const std::string_view name : core::split(std::string_view(ciphers()), ',')) {
    if (has(theirs, name)) return name;
  }
  return {};
}

}  // namespace

void offer_methods(LIBSSH2_SESSION* session, const std::string& host_keys) {
  libssh2_session_method_pref(session, LIBSSH2_METHOD_HOSTKEY, host_keys.c_str());
  libssh2_session_method_pref(session, LIBSSH2_METHOD_SIGN_ALGO, "rsa-sha2-512,rsa-sha2-256");
  for (const int way : {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC})
    libssh2_session_method_pref(session, way, ciphers());
  for (const int way : {LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC}) libssh2_session_method_pref(session, way, kMacs);
}

std::string why_refused(const ServerHello& hello) {
  for (const char* marker : {"ext-info-c", "kex-strict-c-v00@openssh.com"}) {
    if (has(hello.key_exchanges, marker)) return std::string("it names a key exchange that is none: ") + marker;
  }
  const std::string_view up = chosen(hello.ciphers_in), down = chosen(hello.ciphers);
  if (up != down && (up == kChaCha || down == kChaCha)) {
    return "its ciphers for the two directions are different ones: " + std::string(up) + " to it, " +
           std::string(down) + " from it";
  }
  return {};
}

void keep_methods(LIBSSH2_SESSION* session) {
  for (const int way : {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC}) {
    const char* agreed = libssh2_session_methods(session, way);
    if (agreed != nullptr) libssh2_session_method_pref(session, way, agreed);
  }
}

}  // namespace deployrun::ssh
