#include "ssh/forward.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::ssh;

TEST_CASE("the ends of a forward") {
  const auto text = [](const char* given, bool any_port = false) {
    const auto end = parse_endpoint(given, any_port);
    return end ? end->text() : end.error().kind;
  };
  CHECK(text("db.internal:5432") == "db.internal:5432");
  CHECK(text("8080") == "127.0.0.1:8080");
  CHECK(text(":8080") == "127.0.0.1:8080");
  CHECK(text("[::1]:80") == "[::1]:80");
  CHECK(text("/run/x.sock") == "/run/x.sock");
  CHECK(text("0", true) == "127.0.0.1:0");
  for (const char* wrong :
       {"", "0", "web", "web:", "web:0", "web:65536", "::1:80", "a b:1", "x.sock", "[::1]", "1:2:3"})
    CHECK(text(wrong) == "usage");
}
