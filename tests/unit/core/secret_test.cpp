#include "core/secret.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::core;

TEST_CASE("a secret shows its name and keeps its value") {
  std::string text = "hunter2-hunter2-hunter2";
  const char* where = text.data();
  const Secret secret("DB_PASSWORD", std::move(text));
  CHECK(secret.to_string() == "[secret:DB_PASSWORD]");
  CHECK(secret.reveal() == "hunter2-hunter2-hunter2");
  CHECK(text.empty());  // NOLINT: what it was moved from is wiped
  CHECK(where[0] == '\0');
}

TEST_CASE("handles share one value") {
  auto first = std::make_unique<Secret>("A", std::string("value"));
  const Secret second = *first;
  CHECK(second.reveal().data() == first->reveal().data());
  first.reset();
  CHECK(second.reveal() == "value");
}

TEST_CASE("equality is by value") {
  const Secret secret("A", std::string("value"));
  CHECK(secret.equals("value"));
  CHECK_FALSE(secret.equals("valuf"));
  CHECK_FALSE(secret.equals("value2"));
  CHECK_FALSE(secret.equals(""));
}

TEST_CASE("wipe overwrites the whole buffer") {
  std::string text(100, 'x');
  text.resize(3);  // 97 bytes remain beyond the end
  const char* where = text.data();
  wipe(text);
  CHECK(text.empty());
  for (int i = 0; i < 3; ++i) CHECK(where[i] == '\0');
}
