#include "ssh/tar.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/tar.hpp"

using namespace deployrun;
using ssh::TreeEntry;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/deployrun-tar-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

void spill(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string whole(const std::string& folder, ssh::TarPlace place = {}) {
  auto tree = ssh::read_tree(folder);
  REQUIRE(tree.ok());
  ssh::TarWriter writer(std::move(tree).value(), std::move(place));
  std::string all;
  while (true) {
    auto piece = writer.next();
    REQUIRE(piece.ok());
    if (piece->empty()) return all;
    all += *piece;
  }
}

}  // namespace

TEST_CASE("what is written the tar of this machine unpacks to the same tree") {
  const Folder from, to;
  const std::string deep = "a/" + std::string(90, 'd') + "/" + std::string(120, 'e');
  fs::create_directories(from.path + "/" + deep);
  fs::create_directories(from.path + "/empty");
  spill(from.path + "/" + deep + "/long name \n with ümlaut", "deep");
  spill(from.path + "/big", std::string(1'500'000, 'x') + "end");
  spill(from.path + "/none", "");
  spill(from.path + "/block", std::string(512, 'b'));
  ::chmod((from.path + "/block").c_str(), 0750);
  fs::create_symlink("block", from.path + "/link");
  fs::create_symlink(std::string(200, 't'), from.path + "/long link");

  const std::string archive = to.path + "/archive.tar";
  spill(archive, whole(from.path));
  fs::create_directory(to.path + "/out");
  REQUIRE(std::system(("tar -xpof " + archive + " -C " + to.path + "/out").c_str()) == 0);
  REQUIRE(std::system(("diff -r --no-dereference " + from.path + " " + to.path + "/out").c_str()) == 0);
  struct stat status {};
  REQUIRE(::stat((to.path + "/out/block").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0750);
  CHECK(fs::read_symlink(to.path + "/out/long link").string() == std::string(200, 't'));
  CHECK(slurp(to.path + "/out/big").ends_with("xend"));
}

TEST_CASE("a header is a block, or a pax header and a block") {
  TreeEntry entry{.name = "x", .mode = 0644, .size = 5, .modified = 1};
  CHECK(ssh::tar_header(entry).size() == 512);
  CHECK(ssh::tar_header(entry).substr(257, 8) == std::string("ustar\00000", 8));
  entry.size = 1ULL << 34U;
  const std::string large = ssh::tar_header(entry);
  CHECK(large.size() == 3 * 512);
  CHECK(large[156] == 'x');
  CHECK(large.find("20 size=17179869184\n") == 512);
  entry.name = std::string(99, 'n');
  CHECK(ssh::tar_header(entry).find("./" + std::string(99, 'n') + "\n") != std::string::npos);
}

TEST_CASE("a tree can be put in a folder that the archive makes, and a mark be its last member") {
  const Folder from;
  spill(from.path + "/a", "1");
  fs::create_directories(from.path + "/" + std::string(120, 'd'));
  std::vector<std::string> names;
  core::TarReader reader(
      {.member = [&names](const core::TarMember& member, std::string_view) { names.push_back(member.name); }}, "test");
  REQUIRE(reader.feed(whole(from.path, {.below = "new", .mark = "all"})).ok());
  CHECK(reader.complete());
  CHECK(names == std::vector<std::string>{"./new/", "./new/a", "./new/" + std::string(120, 'd') + "/", "./all"});
}

TEST_CASE("what cannot travel is refused before anything does") {
  const Folder from;
  REQUIRE(::mkfifo((from.path + "/pipe").c_str(), 0600) == 0);
  const auto tree = ssh::read_tree(from.path);
  REQUIRE_FALSE(tree.ok());
  CHECK(tree.error().kind == "ssh.file");
  CHECK(tree.error().message.find("pipe") != std::string::npos);
  CHECK(ssh::read_tree(from.path + "/missing").error().kind == "ssh.file");
}

TEST_CASE("a file that became shorter on its way is an error") {
  const Folder from;
  spill(from.path + "/a", std::string(2'000'000, 'a'));
  ssh::TarWriter writer(std::move(ssh::read_tree(from.path)).value());
  REQUIRE(writer.next().ok());
  fs::resize_file(from.path + "/a", 10);
  core::Result<std::string> piece = writer.next();
  while (piece.ok() && !piece->empty()) piece = writer.next();
  REQUIRE_FALSE(piece.ok());
  CHECK(piece.error().kind == "ssh.file");
}
