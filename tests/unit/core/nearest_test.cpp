#include "core/nearest.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::core;

TEST_CASE("edit distance counts swaps as one") {
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("image", "imgae") == 1);
  CHECK(edit_distance("image", "IMAGE") == 0);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("nearest finds slips and not strangers") {
  const std::vector<std::string> names = {"timeout", "retries", "parallel", "on"};
  CHECK(nearest("timeuot", names) == "timeout");
  CHECK(nearest("retires", names) == "retries");
  CHECK(nearest("para", names) == "parallel");
  CHECK(nearest("onn", names) == "on");
  CHECK_FALSE(nearest("image", names));
  CHECK_FALSE(nearest("x", {"y"}));
  CHECK_FALSE(nearest("x", {}));
}

TEST_CASE("the hint names one, or what there is") {
  CHECK(nearest_hint("timeot", {"timeout", "on"}) == "did you mean 'timeout'?");
  CHECK(nearest_hint("zzz", {"a", "b"}) == "known: a, b");
  CHECK(nearest_hint("zzz", {}).empty());
  CHECK(nearest_hint("zzz", std::vector<std::string>(14, "q")).ends_with("and 2 more"));
}
