#include "docker/ship.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun;

TEST_CASE("layers are shared from the lowest on") {
  CHECK(docker::shared_layers({"a", "b", "c"}, {}) == 0);
  CHECK(docker::shared_layers({"a", "b", "c"}, {{"a"}, {"a", "b", "x"}, {"b", "c"}}) == 2);
  CHECK(docker::shared_layers({"a", "b"}, {{"a", "b", "c"}}) == 2);
  CHECK(docker::shared_layers({"a"}, {{"x", "a"}}) == 0);
}
