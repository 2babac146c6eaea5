// Who is this host? Our own reading of known_hosts files (sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT"), with OpenSSH's
// verdicts: libssh2's own check fails open for @revoked, for wildcard lines with another key and for hosts known by
// another key type. Pure: bytes in, verdict out; reading and appending files is at the end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace deployrun::ssh {

enum class HostMarker { none, cert_authority, revoked };

/// One line that speaks about the host we are looking for.
struct KnownKey {
  HostMarker marker = HostMarker::none;
  std::string type;  ///< "ssh-ed25519"
  std::string blob;
  std::string file;
  std::size_t line = 0;     ///< from 1
  bool plain_name = false;  ///< matched the name without its port; weighs only where nothing names the port
};

/// The longest line and the largest file that are read; longer lines are skipped, a larger file is an error.
inline constexpr std::size_t kKnownHostsLineLimit = 64U << 10U;
inline constexpr std::size_t kKnownHostsFileLimit = 16U << 20U;

/// The name as files have it: lower case, "[name]:port" where the port is not 22.
std::string known_host_name(std::string_view host, unsigned port);

/// Every line of `text` that matches the host: lists, wildcards, `!`, hashed names, "[host]:port". For another port
/// than 22 lines for the bare name count too (OpenSSH looks there second). Unreadable lines are skipped.
std::vector<KnownKey> known_keys(std::string_view text, std::string_view host, unsigned port, std::string_view file);

/// Whether one pattern list (the first field of a line) matches the name.
bool matches_host_list(std::string_view patterns, std::string_view name);

enum class HostVerdict {
  match,
  unknown,       ///< nothing known, or only by a certificate authority, which cannot be used
  changed,       ///< known by another key of this type
  changed_type,  ///< known only by keys of other types
  revoked,
};

struct HostCheck {
  HostVerdict verdict = HostVerdict::unknown;
  std::vector<KnownKey> because;      ///< the lines behind it: the matching, the contradicting, the revoking
  std::vector<KnownKey> authorities;  ///< @cert-authority lines for this host
};

/// `offered` is the server's public key blob.
HostCheck check_host(const std::vector<KnownKey>& known, std::string_view offered);

/// Whether some line vouches for a key of this host by its full name: then only keys of such types are asked for.
bool knows_type(const std::vector<KnownKey>& known);

/// The host-key types for LIBSSH2_METHOD_HOSTKEY: those that the host is known by; for a host that is not, all that can
/// be used, in OpenSSH's order.
std::string host_key_preference(const std::vector<KnownKey>& known);

/// The matching lines of all files, in order; a file that does not exist has none. Blocks: for pool jobs.
core::Result<std::vector<KnownKey>> read_known_keys(const std::vector<std::string>& files, std::string_view host,
                                                    unsigned port);

/// Adds a line (0600 for a new file, its folder 0700) under a lock, in one write, unless the very line is there.
/// Blocks.
core::Result<core::Unit> append_known_host(const std::string& file, std::string_view host, unsigned port,
                                           std::string_view blob);

}  // namespace deployrun::ssh
