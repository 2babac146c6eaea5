// The corpora of tests/support, cleaned whole and in pieces; tests/lab sends the same ones through the whole program.
#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "core/text.hpp"

using namespace deployrun::core;

namespace {

int hex(char digit) { return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10; }

std::vector<std::string> corpus(const std::string& name) {
  std::vector<std::string> pieces;
  std::ifstream file(std::string(SUPPORT_FOLDER) + "/" + name);
  REQUIRE(file.good());
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("# ")) continue;
    std::string piece;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] != '\\') {
        piece += line[i];
        continue;
      }
      const char kind = line.at(++i);
      if (kind == 'x') {
        piece += static_cast<char>(hex(line.at(i + 1)) * 16 + hex(line.at(i + 2)));
        i += 2;
      } else {
        piece += kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind;
      }
    }
    pieces.push_back(piece);
  }
  return pieces;
}

std::string cleaned_bytewise(const std::string& text) {
  OutputCleaner cleaner;
  std::string result;
  for (const char each : text) result += cleaner.feed(std::string_view(&each, 1));
  return result + cleaner.finish();
}

/// The first character that may steer a terminal or hide text; 0 where there is none.
char32_t steering(std::string_view text) {
  while (!text.empty()) {
    char32_t point = 0;
    const int length = utf8_sequence(text, point);
    if (length <= 0) return 0xFFFFFFFF;
    text.remove_prefix(static_cast<std::size_t>(length));
    const bool control = (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7F && point < 0xA0);
    const bool hidden = (point >= 0x200B && point <= 0x200F) || (point >= 0x2028 && point <= 0x202E) ||
                        (point >= 0x2060 && point <= 0x206F) || point == 0xFEFF || point == 0x61C ||
                        (point >= 0xE0000 && point <= 0xE007F);
    if (control || hidden) return point;
  }
  return 0;
}

}  // namespace

TEST_CASE("60 hostile sequences leave nothing that steers a terminal") {
  const auto pieces = corpus("terminal_sequences.txt");
  REQUIRE(pieces.size() == 60);
  for (const std::string& piece : pieces) {
    for (const std::string& text : {piece, "before " + piece + " after", piece + piece, piece + "\nnext line"}) {
      INFO(text);
      CHECK(steering(clean(text)) == 0);
      CHECK(cleaned_bytewise(text) == clean(text));
    }
    // A sequence that never ends swallows no more than its own line.
    CHECK(clean(piece + "\nnext line").ends_with("\nnext line"));
  }
}

TEST_CASE("10 workflow commands are none any more") {
  const auto pieces = corpus("workflow_commands.txt");
  REQUIRE(pieces.size() == 10);
  for (const std::string& piece : pieces) {
    INFO(piece);
    const std::string cleaned = clean("first\n" + piece);
    for (const std::string_view line : lines(cleaned)) {
      std::string_view rest = line;
      while (rest.starts_with(' ') || rest.starts_with('\t') || rest.starts_with("\xc2\xa0"))
        rest.remove_prefix(rest.starts_with('\xc2') ? 2 : 1);
      CHECK_FALSE(rest.starts_with("::"));
      CHECK(line.find("##[") == std::string_view::npos);
    }
  }
}
