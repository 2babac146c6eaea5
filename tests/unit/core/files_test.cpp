#include "core/files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

#include "probe.hpp"

using namespace deployrun::core;
using test::Folder;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777U : 0;
}

}  // namespace

TEST_CASE("what was written is read back") {
  const Folder folder;
  const std::string path = folder.path("a");
  const std::string bytes("nul\0 and \xff\n", 11);
  REQUIRE(write_file_now(path, bytes).ok());
  CHECK(*read_file_now(path, 100) == bytes);
  CHECK(mode_of(path) == 0600);
  REQUIRE(write_file_now(path, "new", {.mode = 0644}).ok());
  CHECK(*read_file_now(path, 100) == "new");
  CHECK(mode_of(path) == 0644);
  CHECK(list_directory_now(folder.path())->size() == 1);  // no temporary file is left
}

TEST_CASE("the mode is the one that was asked for, whatever the umask") {
  const Folder folder;
  const mode_t before = ::umask(0);
  CHECK(write_file_now(folder.path("a"), "x").ok());
  ::umask(0777);
  CHECK(write_file_now(folder.path("b"), "x", {.mode = 0640}).ok());
  ::umask(before);
  CHECK(mode_of(folder.path("a")) == 0600);
  CHECK(mode_of(folder.path("b")) == 0640);
}

TEST_CASE("a planted symlink is replaced, not followed") {
  const Folder folder;
  REQUIRE(write_file_now(folder.path("victim"), "untouched").ok());
  REQUIRE(::symlink(folder.path("victim").c_str(), folder.path("target").c_str()) == 0);
  REQUIRE(write_file_now(folder.path("target"), "secret").ok());
  CHECK(*read_file_now(folder.path("victim"), 100) == "untouched");
  CHECK((*stat_file_now(folder.path("target")))->type == FileType::file);
}

TEST_CASE("a failed write leaves the old file and nothing else") {
  const Folder folder;
  REQUIRE(::mkdir(folder.path("taken").c_str(), 0700) == 0);
  const auto result = write_file_now(folder.path("taken"), "x");  // rename over a folder fails
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().kind == "files.io");
  CHECK(list_directory_now(folder.path())->size() == 1);
}

TEST_CASE("reading: missing, a folder, too large, without a size") {
  const Folder folder;
  const auto missing = read_file_now(folder.path("no"), 10);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().kind == "files.not_found");
  CHECK(std::get<std::string>(missing.error().details.at("path")) == folder.path("no"));
  CHECK(read_file_now(folder.path(), 10).error().kind == "files.io");
  REQUIRE(write_file_now(folder.path("ten"), "0123456789").ok());
  CHECK(read_file_now(folder.path("ten"), 10).ok());
  CHECK(read_file_now(folder.path("ten"), 9).error().kind == "files.too_large");
  CHECK(read_file_now("/dev/zero", 100'000).error().kind == "files.too_large");
  CHECK(read_file_now("/proc/self/stat", 10'000)->size() > 10);
  CHECK(read_file_now(folder.path("ten") + "/x", 10).error().kind == "files.not_found");
  CHECK(read_file_now("", 10).error().kind == "usage");
  CHECK(read_file_now(std::string("a\0b", 3), 10).error().kind == "usage");
}

TEST_CASE("a FIFO without a writer does not block") {
  const Folder folder;
  REQUIRE(::mkfifo(folder.path("fifo").c_str(), 0600) == 0);
  CHECK(read_file_now(folder.path("fifo"), 10).ok());
}

TEST_CASE("stat, list, remove, make directories") {
  const Folder folder;
  CHECK_FALSE(stat_file_now(folder.path("no"))->has_value());
  CHECK(*make_directories_now(folder.path("a/b/c")));
  CHECK_FALSE(*make_directories_now(folder.path("a/b/c")));
  CHECK_FALSE(*make_directories_now(folder.path("a/b/c/")));
  REQUIRE(write_file_now(folder.path("a/file"), "12345").ok());
  REQUIRE(::symlink("nowhere", folder.path("a/link").c_str()) == 0);
  CHECK_FALSE(make_directories_now(folder.path("a/file/x")).ok());
  CHECK_FALSE(make_directories_now(folder.path("a/file")).ok());

  const auto stat = *stat_file_now(folder.path("a/file"));
  REQUIRE(stat);
  CHECK(stat->size == 5);
  CHECK(stat->mode == 0600);
  CHECK(stat->modified > 1'600'000'000);

  const auto entries = list_directory_now(folder.path("a"));
  REQUIRE(entries.ok());
  REQUIRE(entries->size() == 3);
  CHECK((*entries)[0].name == "b");
  CHECK((*entries)[0].type == FileType::directory);
  CHECK((*entries)[1].type == FileType::file);
  CHECK((*entries)[2].type == FileType::symlink);

  CHECK(remove_file_now(folder.path("a")).error().kind == "files.io");  // not empty
  CHECK(*remove_file_now(folder.path("a/link")));
  CHECK_FALSE(*remove_file_now(folder.path("a/link")));
  CHECK(*remove_file_now(folder.path("a"), true));
  CHECK_FALSE(*remove_file_now(folder.path("a"), true));
  CHECK_FALSE(stat_file_now(folder.path("a"))->has_value());
}

TEST_CASE("removing a tree does not follow its symlinks") {
  const Folder folder;
  REQUIRE(write_file_now(folder.path("keep/file"), "x", {.make_parents = true}).ok());
  REQUIRE(make_directories_now(folder.path("tree")).ok());
  REQUIRE(::symlink(folder.path("keep").c_str(), folder.path("tree/link").c_str()) == 0);
  CHECK(*remove_file_now(folder.path("tree"), true));
  CHECK(stat_file_now(folder.path("keep/file"))->has_value());
}

TEST_CASE("as operations on the pool") {
  const Folder folder;
  Loop loop;
  CHECK(test::run(loop, *make_directories(loop, folder.path("d"))).ok());
  CHECK(test::run(loop, *write_file(loop, folder.path("d/f"), "bytes")).ok());
  CHECK(*test::run(loop, *read_file(loop, folder.path("d/f"), 10)) == "bytes");
  CHECK(test::run(loop, *stat_file(loop, folder.path("d/f")))->has_value());
  CHECK(test::run(loop, *list_directory(loop, folder.path("d")))->size() == 1);
  CHECK(*test::run(loop, *remove_file(loop, folder.path("d"), true)));
  CHECK(test::run(loop, *read_file(loop, folder.path("d/f"), 10)).error().kind == "files.not_found");
}
