#include "docker/image_archive.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::docker;
using deployrun::json::Json;

namespace {

const std::string kConfig = R"({"config":{"Env":["A=1"],"Cmd":null},"rootfs":{"diff_ids":["sha256:1"]}})";

std::string archive(const std::string& manifest, const std::string& config_name, const std::string& config) {
  return tar_member({.name = "layer.tar"}, std::string(3000, 'x')) + tar_member({.name = config_name}, config) +
         tar_member({.name = "manifest.json"}, manifest) + tar_end();
}

}  // namespace

TEST_CASE("an archive's list and settings are known however its bytes are cut") {
  const std::string bytes =
      archive(R"([{"Config":"blobs/sha256/12","RepoTags":["a:1","b:2"]},{"Config":"gone.json","RepoTags":null}])",
              "blobs/sha256/12", kConfig);
  for (const std::size_t step : {std::size_t(1), std::size_t(511), bytes.size()}) {
    ImageArchive read;
    for (std::size_t at = 0; at < bytes.size(); at += step) REQUIRE(read.feed(bytes.substr(at, step)).ok());
    CHECK(read.complete());
    const auto images = read.images();
    REQUIRE(images.size() == 2);
    CHECK(images[0].names == std::vector<std::string>{"a:1", "b:2"});
    CHECK(images[0].config["config"]["Env"] == Json{"A=1"});
    CHECK(images[1].names.empty());
    CHECK(images[1].config.is_null());
  }
}

TEST_CASE("what is no archive, cut off or compressed") {
  CHECK_FALSE(ImageArchive().complete());
  ImageArchive text;
  CHECK_FALSE(text.feed(std::string(600, 'x')).ok());
  ImageArchive cut;
  REQUIRE(cut.feed(archive("[]", "a.json", kConfig).substr(0, 2000)).ok());
  CHECK_FALSE(cut.complete());
  ImageArchive packed;
  REQUIRE(packed.feed("\x1f\x8b").ok());
  REQUIRE(packed.feed(std::string(600, 'x')).ok());
  CHECK(packed.compressed());
  CHECK(packed.complete());
  CHECK(packed.images().empty());
}

TEST_CASE("lists that are none, and files that are too large to be settings") {
  for (const char* manifest : {"", "{}", "[1]", "[{\"RepoTags\":7}]", "[{\"Config\":{}}]"}) {
    ImageArchive read;
    REQUIRE(read.feed(archive(manifest, "a.json", kConfig)).ok());
    for (const auto& image : read.images()) {
      CHECK(image.names.empty());
      CHECK(image.config.is_null());
    }
  }
  ImageArchive large;
  REQUIRE(large.feed(archive(R"([{"Config":"a.json"}])", "a.json", std::string(2U << 20U, ' '))).ok());
  REQUIRE(large.images().size() == 1);
  CHECK(large.images()[0].config.is_null());
}

TEST_CASE("an image is what its files and settings are") {
  const auto config = *deployrun::json::parse(kConfig);
  Json engine = {{"RootFS", {{"Layers", {"sha256:1"}}}},
                 {"Config", {{"Env", {"A=1"}}, {"Cmd", Json()}, {"Entrypoint", Json::array()}, {"User", ""}}}};
  CHECK(is_image(engine, config));
  engine["Config"]["Cmd"] = {"/evil"};
  CHECK_FALSE(is_image(engine, config));
  engine["Config"]["Cmd"] = Json();
  engine["RootFS"]["Layers"] = {"sha256:2"};
  CHECK_FALSE(is_image(engine, config));
}
