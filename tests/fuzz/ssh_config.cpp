// What `ssh -G` prints, and how people write a server's address.
#include "fuzz.hpp"
#include "ssh/config.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const auto config = ssh::parse_ssh_g(bytes);
  const ssh::Surroundings here{"/home/me", "me", ""};
  if (const auto target = ssh::resolve({.host = "web-1"}, config, here))
    check(target->port > 0 && target->port <= 65535);
  const auto destination = ssh::parse_destination({.host = std::string(bytes)});
  if (destination) (void)ssh::ssh_g_command(*destination);
}

}  // namespace deployrun::fuzz
