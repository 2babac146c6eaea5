#include "report/ci.hpp"

#include <catch2/catch_test_macros.hpp>
#include <map>

using namespace deployrun::report;

TEST_CASE("which runner reads the log") {
  std::map<std::string, std::string> variables;
  const auto environment = [&](const char* name) { return variables[name]; };
  CHECK(ci_of(environment) == Ci::none);
  variables["GITLAB_CI"] = "true";
  CHECK(ci_of(environment) == Ci::gitlab);
  variables["GITHUB_ACTIONS"] = "true";
  CHECK(ci_of(environment) == Ci::github);
}

TEST_CASE("what goes into a workflow command cannot end it or begin another") {
  CHECK(escape_command("50%\r\n::set-output", false) == "50%25%0D%0A::set-output");
  CHECK(escape_command("web1: a, b", true) == "web1%3A a%2C b");
  CHECK(mask_line("one\ntwo%") == "::add-mask::one%0Atwo%25\n");
}

TEST_CASE("folds") {
  CHECK(fold_start(Ci::github, "pull", 1, 1700000000) == "::group::pull\n");
  CHECK(fold_end(Ci::github, 1, 1700000000) == "::endgroup::\n");
  CHECK(fold_start(Ci::gitlab, "pull", 3, 1700000000) == "\x1b[0Ksection_start:1700000000:deployrun_3\r\x1b[0Kpull\n");
  CHECK(fold_end(Ci::gitlab, 3, 1700000009) == "\x1b[0Ksection_end:1700000009:deployrun_3\r\x1b[0K\n");
}

TEST_CASE("places of the recipe, seen from the repository's root") {
  const auto here = std::filesystem::current_path();
  CHECK(place_of("recipes/prod.lua:12", {}).file == "recipes/prod.lua");
  CHECK(place_of("recipes/prod.lua:12", {}).line == 12);
  CHECK(place_of("recipes/prod.yml:12:7", here).column == 7);
  CHECK(place_of("recipes/prod.yml:12:7", here).file == "recipes/prod.yml");
  CHECK(place_of("recipes/prod.yml:12:7", here.parent_path()).file == here.filename().string() + "/recipes/prod.yml");
  CHECK(place_of("/elsewhere/prod.yml:12", here).file.empty());
  CHECK(place_of("no place", here).file.empty());
  CHECK(place_of("", here).line == 0);
  CHECK(annotation("error", {.file = "a,b.lua", .line = 3, .column = 0}, "web1: pull", "no\nimage") ==
        "::error file=a%2Cb.lua,line=3,title=web1%3A pull::no%0Aimage\n");
  CHECK(annotation("warning", {}, "deployrun", "disk full") == "::warning title=deployrun::disk full\n");
}
