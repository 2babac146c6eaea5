#include "ssh/unpack.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace deployrun;
using core::tar_member;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/deployrun-unpack-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
  }
  std::string path;
};

void spill(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string file(const std::string& name, const std::string& bytes = "evil") {
  return tar_member({.name = name}, bytes);
}
std::string link_to(const std::string& name, const std::string& target, char type = '2') {
  return tar_member({.name = name, .type = type, .target = target}, "");
}
std::string folder(const std::string& name, unsigned mode = 0755) {
  return tar_member({.name = name, .type = '5', .mode = mode}, "");
}

/// "" or what it failed with.
std::string unpack(const std::string& archive, const std::string& to,
                   ssh::UnpackOptions options = {.limit = 1U << 20U}) {
  ssh::Unpacker unpacker(to, options);
  if (auto opened = unpacker.open(); !opened) return opened.error().message;
  for (std::size_t at = 0; at < archive.size(); at += 700)
    if (auto fed = unpacker.feed(std::string_view(archive).substr(at, 700)); !fed) return fed.error().message;
  auto done = unpacker.commit();
  return done ? "" : done.error().message;
}

}  // namespace

TEST_CASE("an archive becomes a folder, added to one or in its place") {
  const Folder base;
  const std::string archive = folder("./", 0750) + folder("./a/", 0555) + file("./a/one", "1") +
                              file("./a/b/two", "22") + link_to("./a/up", "../a/one") +
                              link_to("./same", "./a/one", '1') +
                              tar_member({.name = "./run", .mode = 04755, .modified = 1000}, "x") + core::tar_end();
  REQUIRE(unpack(archive, base / "new") == "");
  CHECK(slurp(base / "new/a/up") == "1");
  CHECK(slurp(base / "new/a/b/two") == "22");
  CHECK(slurp(base / "new/same") == "1");
  struct stat status {};
  REQUIRE(::stat((base / "new/run").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0755);
  CHECK(status.st_mtime == 1000);
  REQUIRE(::stat((base / "new").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0750);
  REQUIRE(::stat((base / "new/a").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0555);

  spill(base / "new/kept", "kept");
  REQUIRE(unpack(file("run", "y") + file("c/d", "z") + core::tar_end(), base / "new/") == "");
  CHECK(slurp(base / "new/run") == "y");
  CHECK(slurp(base / "new/c/d") == "z");
  CHECK(slurp(base / "new/kept") == "kept");
  REQUIRE(unpack(file("only", "y") + core::tar_end(), base / "new", {.replace = true, .limit = 10}) == "");
  CHECK(fs::exists(base / "new/only"));
  CHECK_FALSE(fs::exists(base / "new/kept"));
  CHECK(base.entries() == 1);
}

TEST_CASE("what leads out of the folder, or is no file, writes nothing anywhere") {
  const Folder base;
  const std::string outside = base / "outside";
  fs::create_directory(outside);
  spill(base / "outside/victim", "safe");
  const std::string evil[] = {
      file("../outside/victim"),
      file("a/../../outside/victim"),
      file(outside + "/victim"),
      file("..") + file("x"),
      link_to("l", outside) + file("l/victim"),
      link_to("l", "../outside") + file("l/victim"),
      link_to("l", "/etc/passwd"),
      link_to("l", ".."),
      link_to("a/l", "../.."),
      link_to("a/l", "b/../../.."),
      folder("a/") + folder("a/b/") + link_to("a/b/root", "../..") + link_to("l", "a/b/root/../../outside"),
      link_to("l", "a") + file("l/victim"),
      link_to("l", "../outside/victim", '1'),
      link_to("l", outside + "/victim", '1'),
      link_to("s", "x") + link_to("l", "s", '1'),
      link_to("l", "l", '1'),
      tar_member({.name = "dev", .type = '3'}, ""),
      tar_member({.name = "dev", .type = '4'}, ""),
      tar_member({.name = "pipe", .type = '6'}, ""),
      tar_member({.name = "odd", .type = 'S'}, ""),
      file("./"),
      file("") + file("x"),
      folder("d/") + file("d"),
      file("f") + file("f/below"),
      file(std::string("n\0", 2) + std::string(200, 'n')),
      file("big", std::string(2U << 20U, 'x')),
      file("half", std::string(900'000, 'x')) + file("more", std::string(900'000, 'x')),
      std::string(600, 'a'),
  };
  std::size_t refused = 0;
  for (const std::string& archive : evil) {
    INFO("archive " << refused);
    CHECK(unpack(archive + core::tar_end(), base / "to") != "");
    CHECK(slurp(base / "outside/victim") == "safe");
    CHECK(base.entries() == 1);
    ++refused;
  }
  CHECK(unpack(file("cut", std::string(5000, 'x')).substr(0, 2000), base / "to").find("cut off") != std::string::npos);
  CHECK(base.entries() == 1);
}

TEST_CASE("a folder takes no file's place, nor more than there is room for") {
  const Folder base;
  spill(base / "to", "mine");
  CHECK(unpack(file("x") + core::tar_end(), base / "to") != "");
  CHECK(slurp(base / "to") == "mine");
  ssh::Unpacker unpacker(base / "other", {.limit = 1ULL << 62U});
  REQUIRE(unpacker.open().ok());
  CHECK(unpacker.expect(1).ok());
  CHECK_FALSE(unpacker.expect(1ULL << 61U).ok());
  CHECK(unpacker.expect((1ULL << 62U) + 1).error().kind == "ssh.file");
}
