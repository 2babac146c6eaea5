// What a server says of itself before anything is encrypted: its version (RFC 4253 §4.2) and its methods (§7.1).
// libssh2 keeps both to itself; errors need them. Untrusted bytes: lengths are checked, text is cleaned, nothing is
// decided on it but wording, which host keys a scan asks for, and what is refused (methods.hpp).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace deployrun::ssh {

struct ServerHello {
  std::string before;   ///< lines before the version: "Exceeded MaxStartups"
  std::string version;  ///< "SSH-2.0-OpenSSH_9.2p1"; empty: none came
  // Empty where the methods did not come (yet).
  std::vector<std::string> key_exchanges;
  std::vector<std::string> host_keys;
  std::vector<std::string> ciphers;     ///< from it to us
  std::vector<std::string> ciphers_in;  ///< from us to it
  std::vector<std::string> macs;
};

/// How many bytes of a connection's start are worth keeping for it.
inline constexpr std::size_t kHelloLimit = 16U << 10U;

ServerHello parse_hello(std::string_view bytes);

/// What a connection's first packets are, from the first one on; SSH_MSG_KEXINIT may have others before it.
enum class First { incomplete, broken, methods };
First parse_methods(std::string_view packets, ServerHello& hello);

}  // namespace deployrun::ssh
