#include "report/width.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::report;

TEST_CASE("columns of text") {
  CHECK(display_width("") == 0);
  CHECK(display_width("web1") == 4);
  CHECK(display_width("über") == 4);
  CHECK(display_width("漢字") == 4);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("\xff") == 1);
}

TEST_CASE("what does not fit is cut and marked") {
  CHECK(fit("waiting", 7) == "waiting");
  CHECK(fit("waiting", 5) == "wait…");
  CHECK(fit("漢字漢字", 5) == "漢字…");
  CHECK(fit("漢字漢字", 4) == "漢…");
  CHECK(fit("abc", 1) == "…");
  CHECK(fit("abc", 0).empty());
  for (std::size_t columns = 0; columns < 12; ++columns) CHECK(display_width(fit("a漢b字c漢d", columns)) <= columns);
}
