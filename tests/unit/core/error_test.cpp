#include "core/error.hpp"

#include <catch2/catch_test_macros.hpp>

#include "core/result.hpp"

using namespace deployrun::core;

TEST_CASE("wrapping keeps the cause whole and inherits host and step") {
  Error inner{.kind = "ssh.connect", .message = "connect 10.99.0.1:22: refused", .host = "web1", .step = "pull"};
  inner.details["code"] = std::int64_t{111};
  const Error outer = wrap({.kind = "docker.connect", .message = "no engine", .host = "web2"}, inner);
  CHECK(outer.host == "web2");
  CHECK(outer.step == "pull");
  REQUIRE(outer.cause);
  CHECK(outer.cause->kind == "ssh.connect");
  CHECK(std::get<std::int64_t>(outer.cause->details.at("code")) == 111);
  CHECK(describe(outer) == "docker.connect: no engine\n  caused by ssh.connect: connect 10.99.0.1:22: refused");
}

TEST_CASE("a result is a value or an error, and asking for the other one is a defect") {
  Result<int> good(1);
  const Result<int> bad(usage("no"));
  CHECK(good.ok());
  CHECK(*good == 1);
  CHECK_FALSE(bad);
  CHECK(bad.error().is("usage"));
  CHECK_THROWS_AS(bad.value(), std::bad_variant_access);
  CHECK_THROWS_AS(good.error(), std::bad_variant_access);
}

TEST_CASE("a failure carries its error") {
  const Failure failure(usage("argument 1"));
  CHECK(std::string(failure.what()) == "argument 1");
  CHECK(failure.error().kind == "usage");
}
