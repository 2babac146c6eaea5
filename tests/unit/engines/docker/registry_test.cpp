#include "docker/registry.hpp"

#include <catch2/catch_test_macros.hpp>

#include "../http/scripted.hpp"

using namespace deployrun;
using docker::Json;
using test::http_reply;
using test::Server;

namespace {

struct Registry {
  core::Loop loop;
  std::string answer;
  Server server{loop, [this](const std::string&) { return answer; }, {}, {}, {}};
  http::Client http{loop};
  docker::ClientPtr client = std::make_shared<docker::Client>(
      http, docker::Endpoint{.unix_socket = {}, .dial = server.dial(), .host = "web1"});

  core::Result<Json> look(std::optional<docker::Credentials> credentials = {}) {
    auto operation = docker::inspect_remote_image(client, "127.0.0.1:5000/team/app:v1", std::move(credentials));
    return test::run(loop, *operation);
  }
  std::string kind(int status, const std::string& body) {
    answer = http_reply(status, body);
    auto result = look();
    REQUIRE_FALSE(result);
    CHECK(result.error().host == "web1");
    return result.error().kind;
  }
};

}  // namespace

TEST_CASE("what a registry has is asked without fetching it") {
  Registry registry;
  registry.answer = http_reply(
      200,
      R"({"Descriptor":{"mediaType":"m/t","digest":"sha256:dd","size":528},)"
      R"("Platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]})");
  const auto found = registry.look(docker::Credentials{.username = "acme", .password = "hush", .registry = {}});
  REQUIRE(found);
  CHECK(found->at("digest") == "sha256:dd");
  CHECK(found->at("media_type") == "m/t");
  CHECK(found->at("bytes") == 528);
  CHECK(found->at("platforms") == Json::array({"linux/amd64", "linux/arm/v7"}));
  const std::string& request = registry.server.requests.at(0);
  CHECK(request.find("GET /v1.41/distribution/127.0.0.1:5000/team/app:v1/json ") == 0);
  CHECK(request.find("X-Registry-Auth: ") != request.npos);
}

TEST_CASE("what a registry has not fails as a pull of it would") {
  Registry registry;
  CHECK(registry.kind(404, R"({"message":"manifest unknown: manifest unknown"})") == "docker.not_found");
  CHECK(registry.kind(401, R"({"message":"unauthorized: authentication required"})") == "docker.auth");
  CHECK(registry.kind(500, R"({"message":"Get https://127.0.0.1:5000/v2/: no route to host"})") == "docker.pull");
}

TEST_CASE("an engine that cannot ask registries says so") {
  Registry registry;
  CHECK(registry.kind(404, "404 page not found") == "docker.engine");
  CHECK(registry.kind(404, "Not Found") == "docker.engine");
  CHECK(registry.kind(404, "") == "docker.engine");
}
