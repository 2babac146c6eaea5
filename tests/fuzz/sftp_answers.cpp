// What a server sends where SFTP is spoken: cut into packets, taken apart.
#include "fuzz.hpp"
#include "ssh/sftp_packet.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  ssh::sftp::Packets packets;
  std::size_t taken = 0;
  for (const std::string_view piece : pieces(bytes)) {
    packets.feed(piece);
    while (const auto packet = packets.next()) {
      check(packet->size() <= ssh::sftp::kPacketLimit);
      taken += packet->size() + 4;
      if (const auto answer = ssh::sftp::parse_answer(*packet)) {
        check(answer->text.size() <= packet->size() && 12 * answer->names.size() <= packet->size());
      }
      if (const auto version = ssh::sftp::parse_version(*packet))
        check(8 * version->extensions.size() <= packet->size());
    }
  }
  check(taken <= bytes.size());
}

}  // namespace deployrun::fuzz
