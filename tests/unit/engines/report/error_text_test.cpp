// Errors in words: a usage error with its place, a command that failed with its output, failures beside the first.
#include "report/error_text.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun::report;

TEST_CASE("a usage error points at its line") {
  CHECK(error_text({{"kind", "usage"},
                    {"message", "step \"pull\": option `paralell` is unknown"},
                    {"where", "recipes/prod.lua:12:5"},
                    {"token", "paralell"},
                    {"hint", "did you mean `parallel`?"}},
                   false) ==
        "error: step \"pull\": option `paralell` is unknown\n"
        "  at       recipes/prod.lua:12:5\n"
        "  kind     usage\n"
        "  try      did you mean `parallel`?\n");
}

TEST_CASE("a command that failed shows the end of its output") {
  std::string output;
  for (int i = 1; i <= 25; ++i) output += "line " + std::to_string(i) + "\n";
  const std::string text = error_text(
      {{"kind", "ssh.exit"}, {"message", "bin/migrate: exit 3"}, {"host", "web1"}, {"code", 3}, {"stderr", output}},
      false);
  CHECK(text.find("  in       web1\n") != std::string::npos);
  CHECK(text.find("  code     3\n") != std::string::npos);
  CHECK(text.find("  stderr   (the last 20 of 25 lines)\n           | line 6\n") != std::string::npos);
  CHECK(text.find("           | line 25\n") != std::string::npos);
  CHECK(text.find("line 5\n") == std::string::npos);
}

TEST_CASE("failures beside the first are told too") {
  CHECK(error_text({{"kind", "ssh.lost"},
                    {"message", "web1: connection lost"},
                    {"also", {{{"kind", "docker.remove"}, {"message", "remove 3f2c: in use"}, {"host", "web2"}}}}},
                   false) ==
        "error: web1: connection lost\n"
        "  kind     ssh.lost\n"
        "  also: remove 3f2c: in use\n"
        "    in       web2\n"
        "    kind     docker.remove\n");
}

TEST_CASE("one line for where there is room for one") {
  CHECK(error_line_text({{"message", "first\nsecond"}}) == "first");
  CHECK(error_line_text("just text") == "just text");
  CHECK(error_line_text(nullptr).empty());
}
