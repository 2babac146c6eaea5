// An agent's answers and everything else that is read from the wire format of RFC 4251.
#include "fuzz.hpp"
#include "ssh/agent.hpp"
#include "ssh/wire.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  if (const auto keys = ssh::parse_agent_keys(bytes)) {
    for (const ssh::AgentKey& key : *keys) {
      check(key.blob.size() <= bytes.size() && key.comment.size() <= 3 * bytes.size());  // U+FFFD for a wrong byte
      (void)ssh::blob_type(key.blob);
    }
  }
  if (const auto signature = ssh::parse_agent_signature(bytes)) check(signature->size() <= bytes.size());
  (void)ssh::fingerprint(bytes);
  ssh::WireReader reader(bytes);
  std::size_t taken = 0;
  while (!reader.empty()) {
    const auto kind = reader.byte();
    if (!kind) break;
    if (*kind % 3 == 0) {
      if (!reader.u32()) break;
    } else if (*kind % 3 == 1) {
      const auto text = reader.string();
      if (!text) break;
      taken += text->size();
    } else if (!reader.bytes(*kind)) {
      break;
    }
  }
  check(taken <= bytes.size());
}

}  // namespace deployrun::fuzz
