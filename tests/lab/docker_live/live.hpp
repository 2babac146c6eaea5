// The machine's own engine, an image made for this process and what removes everything again, also when a test fails.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/loop.hpp"
#include "docker/containers.hpp"
#include "docker/images.hpp"
#include "docker/networks.hpp"
#include "docker/tar.hpp"
#include "http/upload.hpp"

namespace live {

using namespace deployrun;
using docker::Json;

/// Starts the operation and waits for its end, two minutes at most: the machine may be busy.
template <class T>
core::Result<T> run(core::Loop& loop, core::Operation<T>& operation) {
  std::optional<core::Result<T>> result;
  const auto limit = core::Loop::now() + std::chrono::minutes(2);
  core::Timer guard(loop);
  operation.start([&](core::Result<T> value) { result.emplace(std::move(value)); });
  while (!result) {
    REQUIRE(core::Loop::now() < limit);
    guard.start(core::Milliseconds(1000), [] {});
    uv_run(loop.raw(), UV_RUN_ONCE);
  }
  return std::move(*result);
}

constexpr const char* kSocket = "/var/run/docker.sock";

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The engine checks the layers' digests: the checksum program knows them.
inline std::string sha256(const std::string& bytes) {
  const std::string file = "/tmp/docker-live-" + std::to_string(::getpid());
  std::ofstream(file, std::ios::binary) << bytes;
  FILE* pipe = ::popen(("sha256sum " + file).c_str(), "r");
  std::array<char, 65> digest{};
  REQUIRE(std::fread(digest.data(), 1, 64, pipe) == 64);
  ::pclose(pipe);
  std::filesystem::remove(file);
  return digest.data();
}

/// A layer with busybox, unlike any other image of the machine, else there would be no layer to pull.
inline std::string base_layer(const std::string& tag) {
  return docker::tar_member({.name = "made-for"}, tag) +
         docker::tar_member({.name = "bin/busybox", .mode = 0755}, read_file("/usr/bin/busybox")) + docker::tar_end();
}

/// `docker save`'s form of an image with these layers.
inline std::string image_tar(const std::string& tag, const std::vector<std::string>& layers) {
  Json config = Json::parse(
      R"({"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Labels":{"made-by":"docker_live"}},)"
      R"("rootfs":{"type":"layers","diff_ids":[]}})");
  Json names = Json::array();
  std::string archive;
  for (const std::string& layer : layers) {
    config["rootfs"]["diff_ids"].push_back("sha256:" + sha256(layer));
    names.push_back("layer" + std::to_string(names.size()) + ".tar");
    archive += docker::tar_member({.name = names.back().get<std::string>()}, layer);
  }
  const Json manifest = Json::array({{{"Config", "config.json"}, {"RepoTags", {tag}}, {"Layers", names}}});
  return archive + docker::tar_member({.name = "config.json"}, config.dump()) +
         docker::tar_member({.name = "manifest.json"}, manifest.dump()) + docker::tar_end();
}

struct Live {
  core::Loop loop;
  http::Client http{loop};
  std::shared_ptr<docker::Client> client =
      std::make_shared<docker::Client>(http, docker::Endpoint{.unix_socket = kSocket, .dial = {}, .host = "local"});
  std::string prefix = "deployrun-live-" + std::to_string(::getpid());
  std::string image = "127.0.0.1:5987/" + prefix + ":v1";

  Live() {
    if (::access(kSocket, R_OK | W_OK) != 0) SKIP("no Docker Engine on this machine");
    load(client, image, {base_layer(image)});
  }
  ~Live() {
    docker::ListOptions mine{.all = true, .labels = {"deployrun-live=" + prefix}, .name = {}, .states = {}};
    auto list = docker::list_containers(client, mine);
    if (const auto found = run(loop, *list)) {
      for (const Json& one : *found) {
        auto gone = docker::remove_container(client, one["id"], true, true);
        (void)run(loop, *gone);
      }
    }
    for (auto& gone : {docker::remove_image(client, image, true), docker::remove_image(client, image + "-copy", true)})
      (void)run(loop, *gone);
    for (auto& gone : {docker::remove_network(client, prefix), docker::remove_volume(client, prefix, true)})
      (void)run(loop, *gone);
  }
  void load(const docker::ClientPtr& into, const std::string& tag, const std::vector<std::string>& layers) {
    auto tar = std::make_shared<http::Upload>();
    tar->write(image_tar(tag, layers));
    tar->finish();
    const auto loaded = get(docker::load_images(into, tar));
    REQUIRE(loaded == std::vector<std::string>{tag});
  }
  template <class T>
  T get(docker::Op<T> operation) {
    auto result = run(loop, *operation);
    if (!result) FAIL(core::describe(result.error()));
    return std::move(*result);
  }
  template <class T>
  std::string kind(docker::Op<T> operation) {
    auto result = run(loop, *operation);
    if (!result) {
      CHECK(result.error().host == "local");
      return result.error().kind;
    }
    return "ok";
  }
  docker::ContainerSpec spec(Json table) {
    table["image"] = image;
    table["labels"]["deployrun-live"] = prefix;
    auto parsed = docker::parse_spec(table);
    if (!parsed) FAIL(core::describe(parsed.error()));
    return *parsed;
  }
};

}  // namespace live
