#include "docker/podman.hpp"

#include <string_view>
#include <utility>

#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

// Podman's own names of these errors (libpod/define, libnetwork/types), and what Docker would make of them.
constexpr std::pair<std::string_view, const char*> kCauses[] = {
    {"container already exists", "docker.conflict"},
    {"container state improper", "docker.conflict"},
    {"network already exists", "docker.conflict"},
    {"network is being used", "docker.conflict"},
    {"network is already connected", "docker.conflict"},
    {"that name is already in use", "docker.conflict"},
    {"volume already exists", "docker.conflict"},
    {"volume is being used", "docker.conflict"},
    {"image used by", "docker.conflict"},
    {"invoke a command that was not found", "docker.invalid"},
};

}  // namespace

void allow_low_ports(json::Json& create_body) {
  json::Json& host = create_body["HostConfig"];
  const std::string mode = text_at(host, "NetworkMode");
  if (mode == "host" || mode == "none" || mode.rfind("container:", 0) == 0) return;
  json::Json& sysctls = host["Sysctls"];
  if (!sysctls.contains("net.ipv4.ip_unprivileged_port_start")) sysctls["net.ipv4.ip_unprivileged_port_start"] = "0";
}

bool is_podman(const http::Reply& reply) { return http::find_header(reply.headers, "Libpod-Api-Version") != nullptr; }

std::string podman_kind(const http::Reply& reply) {
  if (reply.status != 500 || !is_podman(reply)) return {};
  const auto body = json::parse(reply.body);
  if (!body) return {};
  const std::string cause = text_at(*body, "cause");
  for (const auto& [words, kind] : kCauses) {
    if (cause.find(words) != cause.npos) return kind;
  }
  return {};
}

}  // namespace deployrun::docker
