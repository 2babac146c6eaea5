#include "core/tar.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace deployrun;

namespace {

/// "name=content" of each member, read in pieces of `step` bytes.
struct Read {
  std::vector<std::string> members;
  bool complete = false;
  std::string error;
};
Read read(const std::string& archive, std::size_t step) {
  Read seen;
  core::TarReader reader({.member =
                              [&](const core::TarMember& member, std::string_view) {
                                seen.members.push_back(member.name + (member.type == '2' ? ">" + member.target : "="));
                              },
                          .data = [&](std::string_view bytes) { seen.members.back() += bytes; }},
                         "test.broken");
  for (std::size_t at = 0; at < archive.size(); at += step) {
    if (auto fed = reader.feed(std::string_view(archive).substr(at, step)); !fed) {
      seen.error = fed.error().kind;
      return seen;
    }
  }
  seen.complete = reader.complete();
  return seen;
}

const std::string kLong = std::string(90, 'd') + "/" + std::string(90, 'f');

std::string archive() {
  return core::tar_member({.name = "folder/", .type = '5', .mode = 0755}, "") +
         core::tar_member({.name = "folder/a"}, "one") + core::tar_member({.name = kLong}, std::string(600, 'x')) +
         core::tar_member({.name = "link", .type = '2', .target = "folder/a"}, "") +
         core::tar_member({.name = "empty"}, "") + core::tar_end();
}

}  // namespace

TEST_CASE("an archive is read wherever its pieces are cut") {
  const std::vector<std::string> expected = {"folder/=", "folder/a=one", kLong + "=" + std::string(600, 'x'),
                                             "link>folder/a", "empty="};
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{7}, std::size_t{512}, std::size_t{513}, std::size_t{65536}}) {
    INFO(step);
    const Read seen = read(archive(), step);
    CHECK(seen.error.empty());
    CHECK(seen.complete);
    CHECK(seen.members == expected);
  }
}

TEST_CASE("an archive that was cut off or damaged is none") {
  const std::string whole = archive();
  CHECK_FALSE(read(whole.substr(0, 700), 512).complete);
  CHECK_FALSE(read(whole.substr(0, 1030), 512).complete);
  std::string damaged = whole;
  damaged[3] = 'X';
  CHECK(read(damaged, 512).error == "test.broken");
  CHECK(read(std::string(600, 'a'), 100).error == "test.broken");
  // A header that promises more than it may.
  CHECK(read(core::tar_member({.name = "x", .type = 'x'}, std::string((1U << 20U) + 1, 'y')), 4096).error ==
        "test.broken");
}

TEST_CASE("a filter passes everything on but what shall stay behind") {
  const auto filtered = [](const std::set<std::string>& without, std::size_t step) {
    std::string out;
    core::TarFilter filter(
        without, [&](const std::string& bytes) { out += bytes; }, "test.broken");
    const std::string whole = archive();
    for (std::size_t at = 0; at < whole.size(); at += step)
      REQUIRE(filter.feed(std::string_view(whole).substr(at, step)));
    REQUIRE(filter.finish());
    return out;
  };
  CHECK(filtered({}, 100) == archive());
  for (const std::size_t step : {std::size_t{1}, std::size_t{100}, std::size_t{65536}}) {
    const Read seen = read(filtered({kLong, "empty"}, step), 512);
    CHECK(seen.members == std::vector<std::string>{"folder/=", "folder/a=one", "link>folder/a"});
    CHECK(seen.complete);
  }
  core::TarFilter cut(
      {}, [](const std::string&) {}, "test.broken");
  REQUIRE(cut.feed(std::string_view(archive()).substr(0, 1100)));
  CHECK_FALSE(cut.finish());
}
