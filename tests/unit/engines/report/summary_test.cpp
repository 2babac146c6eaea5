#include "report/summary.hpp"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace deployrun::report;

TEST_CASE("a run on one page of Markdown, in which foreign text stays text") {
  std::string path = (std::filesystem::temp_directory_path() / "deployrun-summary-XXXXXX").string();
  REQUIRE(::close(::mkstemp(path.data())) == 0);
  Summary summary(path);
  summary.event({{"type", "run.started"}, {"run", "r-1"}, {"recipe", "recipes/prod.lua"}, {"command", "deploy"}});
  summary.event({{"type", "step.started"}, {"step", "pull | <b>"}, {"hosts", 3}});
  summary.event({{"type", "step.finished"}, {"step", "pull | <b>"}, {"state", "failed"}, {"ms", 4190}});
  summary.event({{"type", "step.started"}, {"step", "pull | <b>"}, {"hosts", 2}, {"undo", true}});
  summary.event({{"type", "error"}, {"error", {{"kind", "docker.pull"}, {"message", "no ``` such\n```\n# image"}}}});
  summary.event({{"type", "run.finished"}, {"run", "r-1"}, {"state", "failed_undone"}, {"ms", 5000}});
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  std::filesystem::remove(path);
  CHECK(text.str() ==
        "### ❌ deploy, recipes/prod.lua: failed&#95;undone after 5.0 s\n"
        "\n"
        "| step | hosts | | time |\n"
        "|---|--:|---|--:|\n"
        "| pull &#124; &#60;b&#62; | 3 | failed | 4.2 s |\n"
        "| undo&#58; pull &#124; &#60;b&#62; | 2 |  |  |\n"
        "\n"
        "````text\n"
        "error: no ``` such\n"
        "  ```\n"
        "  # image\n"
        "  kind     docker.pull\n"
        "````\n"
        "\n"
        "run r&#45;1\n"
        "\n");
}

TEST_CASE("a summary that cannot be written is nobody's business") {
  Summary summary("/nowhere/at/all");
  summary.event({{"type", "run.finished"}, {"state", "done"}, {"ms", 1}});
  SUCCEED();
}
