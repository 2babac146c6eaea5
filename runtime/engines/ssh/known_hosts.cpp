#include "ssh/known_hosts.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/base64.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "ssh/handles.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::string_view kBlank = " \t";

/// The next field of a line; the line is what is left.
std::string_view take_field(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  const std::size_t end = std::min(line.find_first_of(kBlank), line.size());
  const std::string_view field = line.substr(0, end);
  line.remove_prefix(end);
  return field;
}

/// `*` any run, `?` any one. Linear in practice: on a mismatch only the last star is tried again.
bool matches_pattern(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// A key's fields, each of its full length, and nothing behind them.
bool is_whole(std::string_view blob) {
  WireReader reader(blob);
  int fields = 0;
  for (; !reader.empty(); ++fields) {
    if (!reader.string()) return false;
  }
  return fields >= 2;
}

/// "|1|salt|hash": HMAC-SHA1 of the name under the salt.
bool matches_hashed(std::string_view field, std::string_view name) {
  const auto parts = core::split(field, '|');
  if (parts.size() != 4 || !parts[0].empty() || parts[1] != "1") return false;
  const auto salt = core::base64_decode(parts[2]);
  const auto hash = core::base64_decode(parts[3]);
  if (!salt || salt->empty() || !hash) return false;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (HMAC(EVP_sha1(), salt->data(), static_cast<int>(salt->size()),
           reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest.data(), &length) == nullptr) {
    return false;
  }
  return *hash == std::string_view(reinterpret_cast<const char*>(digest.data()), length);
}

}  // namespace

std::string known_host_name(std::string_view host, unsigned port) {
  const std::string name = core::lower(host);
  return port == 22 ? name : "[" + name + "]:" + std::to_string(port);
}

bool matches_host_list(std::string_view patterns, std::string_view name) {
  if (!patterns.empty() && patterns.front() == '|') return matches_hashed(patterns, name);
  bool found = false;
  for (std::string_view pattern : core::split(patterns, ',')) {
    const bool negated = !pattern.empty() && pattern.front() == '!';
    if (negated) pattern.remove_prefix(1);
    if (pattern.empty() || !matches_pattern(core::lower(pattern), name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

std::vector<KnownKey> known_keys(std::string_view text, std::string_view host, unsigned port, std::string_view file) {
  const std::string name = known_host_name(host, port);
  const std::string bare = core::lower(host);
  std::vector<KnownKey> found;
  std::size_t number = 0;
  for (std::string_view line : core::lines(text)) {
    ++number;
    if (line.size() > kKnownHostsLineLimit) continue;
    KnownKey key;
    std::string_view names = take_field(line);
    if (names.empty() || names.front() == '#') continue;
    if (names.front() == '@') {
      if (names == "@cert-authority") {
        key.marker = HostMarker::cert_authority;
      } else if (names == "@revoked") {
        key.marker = HostMarker::revoked;
      } else {
        continue;
      }
      names = take_field(line);
      if (names.empty()) continue;
    }
    if (!matches_host_list(names, name)) {
      if (port == 22 || !matches_host_list(names, bare)) continue;
      key.plain_name = true;
    }
    const std::string_view type = take_field(line);
    const auto blob = core::base64_decode(take_field(line));
    if (!blob || type.empty() || blob_type(*blob) != type || !is_whole(*blob)) continue;
    key.type = type;
    key.blob = *blob;
    key.file = file;
    key.line = number;
    found.push_back(std::move(key));
  }
  return found;
}

HostCheck check_host(const std::vector<KnownKey>& known, std::string_view offered) {
  HostCheck check;
  const std::string_view type = blob_type(offered);
  std::vector<KnownKey> revoking;
  std::vector<KnownKey> matching;
  std::vector<KnownKey> same_type;
  std::vector<KnownKey> other_type;
  // A line for the bare name can vouch for another port but not contradict it: one machine, two servers.
  for (const KnownKey& key : known) {
    if (key.marker == HostMarker::revoked) {
      if (key.blob == offered) revoking.push_back(key);
    } else if (key.marker == HostMarker::cert_authority) {
      check.authorities.push_back(key);
    } else if (key.blob == offered) {
      matching.push_back(key);
    } else if (!key.plain_name) {
      (key.type == type ? same_type : other_type).push_back(key);
    }
  }
  // Lines that name the port decide before those that do not, as OpenSSH looks at the latter only after "new".
  const bool exact = std::any_of(matching.begin(), matching.end(), [](const KnownKey& key) { return !key.plain_name; });
  // A revoked line too: for the bare name it counts only where nothing names the port.
  const bool revoked = std::any_of(revoking.begin(), revoking.end(), [&](const KnownKey& key) {
    return !key.plain_name || (!exact && same_type.empty());
  });
  if (revoked) {
    check.verdict = HostVerdict::revoked;
    check.because = std::move(revoking);
  } else if (exact || (!matching.empty() && same_type.empty())) {
    check.verdict = HostVerdict::match;
    check.because = std::move(matching);
  } else if (!same_type.empty()) {
    check.verdict = HostVerdict::changed;
    check.because = std::move(same_type);
  } else if (!other_type.empty()) {
    check.verdict = HostVerdict::changed_type;
    check.because = std::move(other_type);
  }
  return check;
}

bool knows_type(const std::vector<KnownKey>& known) {
  return std::any_of(known.begin(), known.end(),
                     [](const KnownKey& key) { return key.marker == HostMarker::none && !key.plain_name; });
}

std::string host_key_preference(const std::vector<KnownKey>& known) {
  // Nothing weaker than this is offered at all: no ssh-dss, no RSA with SHA-1.
  static constexpr std::array<std::string_view, 6> kOrder = {"ssh-ed25519",         "ecdsa-sha2-nistp256",
                                                             "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                                                             "rsa-sha2-512",        "rsa-sha2-256"};
  const auto is_known = [&known](std::string_view method) {
    const std::string_view type = method.substr(0, 4) == "rsa-" ? "ssh-rsa" : method;
    return std::any_of(known.begin(), known.end(), [type](const KnownKey& key) {
      return key.marker == HostMarker::none && !key.plain_name && key.type == type;
    });
  };
  const bool any = std::none_of(kOrder.begin(), kOrder.end(), is_known);
  std::string list;
  for (const std::string_view method : kOrder) {
    if (!any && !is_known(method)) continue;
    if (!list.empty()) list += ',';
    list += method;
  }
  return list;
}

core::Result<std::vector<KnownKey>> read_known_keys(const std::vector<std::string>& files, std::string_view host,
                                                    unsigned port) {
  std::vector<KnownKey> all;
  for (const std::string& file : files) {
    auto text = core::read_file_now(file, kKnownHostsFileLimit);
    if (!text) {
      if (text.error().is("files.not_found")) continue;
      return core::wrap({.kind = "ssh.config",
                         .message = "known hosts file " + file + " cannot be read",
                         .hint = "a file that could hold a revoked key is never skipped"},
                        text.error());
    }
    auto keys = known_keys(*text, host, port, file);
    all.insert(all.end(), std::make_move_iterator(keys.begin()), std::make_move_iterator(keys.end()));
  }
  return all;
}

core::Result<core::Unit> append_known_host(const std::string& file, std::string_view host, unsigned port,
                                           std::string_view blob) {
  const auto failed = [&file](const std::string& what) {
    return core::Error{.kind = "ssh.config", .message = "known hosts file " + file + ": " + what};
  };
  if (const std::size_t slash = file.rfind('/'); slash != std::string::npos && slash > 0) {
    if (auto made = core::make_directories_now(file.substr(0, slash), 0700); !made) {
      return core::wrap(failed("its folder cannot be made"), made.error());
    }
  }
  const Descriptor fd(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (fd.get() < 0) return failed(std::strerror(errno));
  if (::flock(fd.get(), LOCK_EX) != 0) return failed(std::strerror(errno));
  const std::string line =
      known_host_name(host, port) + " " + std::string(blob_type(blob)) + " " + core::base64_encode(blob);
  auto text = core::read_file_now(file, kKnownHostsFileLimit);
  if (!text) return core::wrap(failed("cannot be read"), text.error());
  for (const std::string_view present : core::lines(*text)) {
    if (present == line) return core::Unit{};
  }
  const std::string bytes = (text->empty() || text->back() == '\n' ? "" : "\n") + line + "\n";
  const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
  if (written != static_cast<ssize_t>(bytes.size())) return failed(written < 0 ? std::strerror(errno) : "short write");
  ::fsync(fd.get());
  return core::Unit{};
}

}  // namespace deployrun::ssh
