// known_hosts files. The first line is the key that the server offers, in base64; the rest is the file.
#include "ssh/known_hosts.hpp"
#include "core/base64.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const std::size_t line = std::min(bytes.find('\n'), bytes.size());
  const std::string offered = core::base64_decode(bytes.substr(0, line)).value_or("");
  const std::string_view file = bytes.substr(std::min(line + 1, bytes.size()));
  for (const unsigned port : {22U, 2222U}) {
    const auto known = ssh::known_keys(file, "host.example", port, "known_hosts");
    const ssh::HostCheck found = ssh::check_host(known, offered);
    if (found.verdict == ssh::HostVerdict::match) {
      bool there = false;
      for (const ssh::KnownKey& key : known) {
        there = there || (key.blob == offered && key.marker == ssh::HostMarker::none);
        check(!(key.blob == offered && key.marker == ssh::HostMarker::revoked));
      }
      check(there);
    }
    check(!ssh::host_key_preference(known).empty());
  }
  (void)ssh::matches_host_list(file, ssh::known_host_name("host.example", 2222));
}

}  // namespace deployrun::fuzz
