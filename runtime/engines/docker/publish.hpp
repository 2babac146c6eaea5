// Published and exposed ports as the docker command writes them.
#pragma once

#include <string>
#include <vector>

#include "core/result.hpp"

namespace deployrun::docker {

struct Publish {
  std::string ip;              ///< empty: all addresses
  std::string host_port;       ///< empty: the engine chooses; "8000-8010": one of these
  std::string container_port;  ///< one port
  std::string protocol = "tcp";
};

/// "[address:][port:]port[/protocol]", each port may be a range: one for each port of the container. Kind `usage`.
core::Result<std::vector<Publish>> parse_publish(const std::string& text);
/// "80", "53/udp", "8000-8010/tcp" → "80/tcp" … Kind `usage`.
core::Result<std::vector<std::string>> parse_expose(const std::string& text);
/// As the docker command takes it.
std::string publish_text(const Publish& publish);

}  // namespace deployrun::docker
