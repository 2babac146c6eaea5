#include "core/base64.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::core;

TEST_CASE("base64: the vectors of RFC 4648 §10") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(base64_encode(bytes) == text);
    CHECK(base64_decode(text) == bytes);
  }
}

TEST_CASE("base64: the URL alphabet, and padding") {
  const std::string bytes = "\xfb\xff\xfe?";
  CHECK(base64_encode(bytes) == "+//+Pw==");
  CHECK(base64_encode(bytes, Base64::url) == "-__-Pw");
  CHECK(base64_encode(bytes, Base64::url, true) == "-__-Pw==");
  CHECK(base64_decode("-__-Pw", Base64::url) == bytes);
  CHECK(base64_decode("-__-Pw==", Base64::url) == bytes);
  CHECK_FALSE(base64_decode("-__-Pw"));
}

TEST_CASE("base64: what is not base64") {
  for (const char* text : {"A", "AAAAA", "Zm9v\n", "Zm 9v", "Zg=", "Zh==", "====", "Zg==Zg=="}) {
    INFO(text);
    CHECK_FALSE(base64_decode(text));
  }
}

TEST_CASE("hex, both ways") {
  CHECK(hex_encode(std::string("\x00\xff\x1a", 3)) == "00ff1a");
  CHECK(hex_decode("00FF1a") == std::string("\x00\xff\x1a", 3));
  CHECK_FALSE(hex_decode("0"));
  CHECK_FALSE(hex_decode("0g"));
}
