#include "docker/podman.hpp"

#include <catch2/catch_test_macros.hpp>

#include "docker/images.hpp"

using namespace deployrun;
using namespace deployrun::docker;

namespace {

http::Reply podman(int status, const std::string& body) {
  http::Reply reply;
  reply.status = status;
  reply.headers = {{"Libpod-Api-Version", "4.3.1"}};
  reply.body = body;
  return reply;
}

Progress last_of(ProgressMeter meter) {
  for (const char* status : {"Pulling fs layer", "Download complete"})
    meter.take({{"status", status}, {"id", "b79a47a4bb49"}, {"progressDetail", Json::object()}});
  return meter.sum();
}

}  // namespace

TEST_CASE("Podman's causes become the kinds that Docker's statuses give") {
  CHECK(podman_kind(podman(500, R"({"cause":"that name is already in use","message":"m"})")) == "docker.conflict");
  CHECK(podman_kind(podman(500, R"({"cause":"container state improper"})")) == "docker.conflict");
  CHECK(podman_kind(podman(500, R"({"cause":"OCI runtime attempted to invoke a command that was not found"})")) ==
        "docker.invalid");
  for (const char* body : {"", "no json", "[]", R"({"cause":7})", R"({"cause":"disk full"})"})
    CHECK(podman_kind(podman(500, body)).empty());
  CHECK(podman_kind(podman(404, R"({"cause":"container state improper"})")).empty());
  http::Reply docker = podman(500, R"({"cause":"container state improper"})");
  docker.headers.clear();
  CHECK_FALSE(is_podman(docker));
  CHECK(podman_kind(docker).empty());
}

TEST_CASE("a layer that Podman has downloaded is here") {
  CHECK(last_of(ProgressMeter(true)).done == 1);
  CHECK(last_of(ProgressMeter()).done == 0);
}

TEST_CASE("low ports are asked for where a container has a network of its own") {
  const std::string port = "net.ipv4.ip_unprivileged_port_start";
  Json bare = Json::object();
  allow_low_ports(bare);
  CHECK(bare["HostConfig"]["Sysctls"] == Json{{port, "0"}});
  Json told = {{"HostConfig", {{"NetworkMode", "kamal"}, {"Sysctls", {{port, "80"}}}}}};
  allow_low_ports(told);
  CHECK(told["HostConfig"]["Sysctls"] == Json{{port, "80"}});
  for (const char* mode : {"host", "none", "container:db"}) {
    Json other = {{"HostConfig", {{"NetworkMode", mode}}}};
    allow_low_ports(other);
    CHECK_FALSE(other["HostConfig"].contains("Sysctls"));
  }
}
