#include "core/file_pieces.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "core/files.hpp"
#include "probe.hpp"

using namespace deployrun::core;
using test::Folder;

TEST_CASE("a new file is there once it is committed, and never before") {
  const Folder folder;
  {
    const auto dropped = NewFile::create(folder.path("a"));
    REQUIRE(dropped);
    REQUIRE((*dropped)->write("half"));
    CHECK_FALSE(stat_file_now(folder.path("a"))->has_value());
  }
  CHECK(list_directory_now(folder.path())->empty());
  const auto kept = NewFile::create(folder.path("a"));
  REQUIRE(kept);
  REQUIRE((*kept)->write("one "));
  REQUIRE((*kept)->write("two"));
  REQUIRE((*kept)->commit(0640));
  (*kept)->drop();
  CHECK(*read_file_now(folder.path("a"), 100) == "one two");
  CHECK((*stat_file_now(folder.path("a")))->mode == 0640);
  CHECK(NewFile::create(folder.path("no/a")).error().kind == "files.not_found");
}

TEST_CASE("a file is read in pieces, and one that changes meanwhile is told") {
  const Folder folder;
  REQUIRE(write_file_now(folder.path("a"), "0123456789"));
  const auto file = FileReader::open(folder.path("a"));
  REQUIRE(file);
  CHECK((*file)->size() == 10);
  CHECK(*(*file)->read(6) == "012345");
  CHECK(*(*file)->read(6) == "6789");
  CHECK(*(*file)->read(6) == "");
  for (const off_t size : {off_t(5), off_t(20)}) {
    REQUIRE(write_file_now(folder.path("b"), "0123456789"));
    const auto changing = FileReader::open(folder.path("b"));
    REQUIRE(changing);
    CHECK(*(*changing)->read(4) == "0123");
    REQUIRE(::truncate(folder.path("b").c_str(), size) == 0);
    CHECK((*changing)->read(20).error().kind == "files.io");
  }
  CHECK(FileReader::open(folder.path()).error().kind == "files.io");
  CHECK(FileReader::open(folder.path("none")).error().kind == "files.not_found");
  REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  CHECK(FileReader::open(folder.path("pipe")).error().kind == "files.io");
}
