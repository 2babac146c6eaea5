#include "core/lines.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace deployrun::core;

namespace {

std::vector<std::string> in_pieces(const std::string& bytes, std::size_t size) {
  std::vector<std::string> lines;
  const auto keep = [&](std::string line) { lines.push_back(std::move(line)); };
  LineSplitter splitter;
  for (std::size_t i = 0; i < bytes.size(); i += size) splitter.feed(std::string_view(bytes).substr(i, size), keep);
  splitter.finish(keep);
  return lines;
}

}  // namespace

TEST_CASE("lines come out whole, whatever the pieces") {
  for (std::size_t size = 1; size < 12; ++size) {
    CHECK(in_pieces("one\r\n\ntwo\nlast", size) == std::vector<std::string>{"one", "", "two", "last"});
    CHECK(in_pieces("one\n", size) == std::vector<std::string>{"one"});
    CHECK(in_pieces("", size).empty());
  }
}

TEST_CASE("a line without end comes in parts") {
  const auto lines = in_pieces(std::string(LineSplitter::kLongest * 2 + 5, 'x') + "\ny", 1000);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].size() == LineSplitter::kLongest);
  CHECK(lines[2] == "xxxxx");
  CHECK(lines[3] == "y");
}
