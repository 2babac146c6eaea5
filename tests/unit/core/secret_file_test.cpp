#include "core/secret_file.hpp"

#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>

#include "core/files.hpp"
#include "probe.hpp"

using namespace deployrun::core;

namespace {

std::optional<std::string> lookup(const std::string& name) {
  if (name == "OUTER") return "from outside";
  return std::nullopt;
}

Result<std::vector<Secret>> parse(std::string_view text) { return parse_secrets(text, "f.env", lookup); }

std::string value_of(std::string_view line) {
  auto secrets = parse(line);
  if (!secrets.ok()) FAIL(secrets.error().message);
  REQUIRE_FALSE(secrets->empty());
  return std::string(secrets->back().reveal());
}

}  // namespace

TEST_CASE("every form of a value") {
  const std::pair<const char*, const char*> cases[] = {
      {"A=plain", "plain"},
      {"A=plain\r\n", "plain"},
      {"  export A = spaced out  ", "spaced out"},
      {"A=", ""},
      {"A=#x", ""},
      {"A=a#b # comment", "a#b"},
      {"A='as $it \\n is' # c", "as $it \\n is"},
      {"A='two\nlines'", "two\nlines"},
      {"A=\"a\\n\\\"b\\\" \\\\ \\$X \\q\"", "a\n\"b\" \\ $X \\q"},
      {"A=\"two\nlines\"", "two\nlines"},
      {"A=$OUTER!", "from outside!"},
      {"A=\"<${OUTER}>\"", "<from outside>"},
      {"B=1\nA=$B$B", "11"},
      {"A=cost$", "cost$"},
      {"A=a$$ b", "a$$ b"},
      {"\xef\xbb\xbf"
       "A=bom",
       "bom"},
      {"A=a=b=c", "a=b=c"},
  };
  for (const auto& [text, value] : cases) {
    INFO(text);
    CHECK(value_of(text) == value);
  }
}

TEST_CASE("names keep their order; comments and blank lines say nothing") {
  const auto secrets = parse("# one\n\nB=2\n  # two\nA=1");
  REQUIRE(secrets.ok());
  REQUIRE(secrets->size() == 2);
  CHECK((*secrets)[0].name() == "B");
  CHECK((*secrets)[1].name() == "A");
}

TEST_CASE("mistakes have their place, and never show a value") {
  const std::pair<const char*, const char*> cases[] = {
      {"A=1\nhunter2", "f.env:2:1: expected NAME=VALUE"},
      {"=hunter2", "f.env:1:1: expected NAME=VALUE"},
      {"9A=hunter2", "f.env:1:1: expected NAME=VALUE"},
      {"A='hunter2", "f.env:1:3: the quote is never closed"},
      {"A='x' hunter2", "f.env:1:7: text after the closing quote"},
      {"A=1\nB=2\nA=hunter2", "f.env:3:1: A stands here and in line 1"},
      {"A=$(cat hunter2)", "f.env:1:3: commands are not run"},
      {"A=\"${}\"", "f.env:1:4: expected ${NAME}"},
      {"A=${B-c}", "f.env:1:3: expected ${NAME}"},
  };
  for (const auto& [text, message] : cases) {
    INFO(text);
    const auto secrets = parse(text);
    REQUIRE_FALSE(secrets.ok());
    CHECK(secrets.error().kind == "secret.file");
    CHECK(secrets.error().message == message);
  }
}

TEST_CASE("an unknown $NAME is missing, with the nearest") {
  const auto secrets = parse("DB_PASSWORD=x\nURL=postgres://u:$DB_PASWORD@h");
  REQUIRE_FALSE(secrets.ok());
  CHECK(secrets.error().kind == "secret.missing");
  CHECK(secrets.error().message.starts_with("f.env:2:18: $DB_PASWORD is neither"));
  CHECK(secrets.error().hint == "did you mean '$DB_PASSWORD'?");
}

TEST_CASE("a file: missing, and readable by others") {
  const test::Folder folder;
  const auto missing = read_secret_file(folder.path("none"));
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().kind == "secret.file");
  CHECK(missing.error().cause->kind == "files.not_found");

  REQUIRE(write_file_now(folder.path("s"), "A=value\n").ok());
  const auto closed = read_secret_file(folder.path("s"));
  REQUIRE(closed.ok());
  CHECK(closed->warning.empty());
  CHECK(closed->secrets[0].reveal() == "value");
  REQUIRE(::chmod(folder.path("s").c_str(), 0644) == 0);
  CHECK(read_secret_file(folder.path("s"))->warning.find("chmod 600") != std::string::npos);
}
