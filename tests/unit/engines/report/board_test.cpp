// The live board on a terminal, as a small emulator of one shows it.
#include "report/board.hpp"

#include <catch2/catch_test_macros.hpp>

#include "capture.hpp"
#include "core/text.hpp"
#include "report/width.hpp"
#include "screen.hpp"

using namespace deployrun;
using namespace deployrun::report;
using test::Capture;
using test::Screen;

namespace {

/// A board whose bytes a screen of that size shows; what scrolls off its top is kept above.
class Terminal {
 public:
  explicit Terminal(std::size_t columns, std::size_t rows, LinesOptions options = {})
      : size{columns, rows}, capture_(loop), board(loop, capture_.output, options, [this] { return size; }) {}

  void event(const Json& event) { board.event(event); }
  /// The turns of the loop in which what was deferred happens.
  std::vector<std::string> lines() {
    for (int turn = 0; turn < 5; ++turn) uv_run(loop.raw(), UV_RUN_NOWAIT);
    const std::string all = capture_.text();
    screen.write(std::string_view(all).substr(seen_));
    seen_ = all.size();
    return screen.lines();
  }

  core::Loop loop;
  Board::Size size;
  Screen screen{size.columns};

 private:
  Capture capture_;
  std::size_t seen_ = 0;

 public:
  Board board;
};

Json step(const char* name, int hosts) { return {{"type", "step.started"}, {"step", name}, {"hosts", hosts}}; }
Json begins(const std::string& host) { return {{"type", "task.started"}, {"step", "s"}, {"host", host}}; }
Json ends(const std::string& host, const char* state = "done") {
  return {{"type", "task.finished"}, {"step", "s"}, {"host", host}, {"state", state}, {"ms", 1200}};
}

std::string masked(std::string line) {  // what the clock says differs
  std::string result;
  for (const char each : line) result += each >= '0' && each <= '9' ? '#' : each;
  return result;
}

}  // namespace

TEST_CASE("a board: what ended stands above, what is at work below") {
  Terminal terminal(80, 24);
  terminal.event(step("pull the image", 4));
  terminal.event(begins("web1"));
  terminal.event(begins("web2"));
  terminal.event(begins("web3"));
  terminal.event({{"type", "pull.progress"}, {"host", "web2"}, {"bytes", 20000000}, {"total", 61000000}});
  terminal.event({{"type", "task.waiting"}, {"host", "web3"}, {"what", "http://x/up to answer"}, {"left_ms", 30000}});
  terminal.event({{"type", "probe.failed"}, {"host", "web3"}, {"outcome", "503 Service Unavailable"}, {"ms", 3}});
  auto lines = terminal.lines();
  REQUIRE(lines.size() == 5);
  CHECK(lines[0] == "pull the image");
  CHECK(masked(lines[1]) == "  web#   running          #.# s");
  CHECK(masked(lines[2]) == "  web#   running          #.# s  ## MB of ## MB");
  CHECK(masked(lines[3]) == "  web#   waiting          #.# s  at most ##.# s more for http://x/up to answer…");
  CHECK(lines[4] == "  3 at work, 0 of 4 hosts ended, 1 to come");

  terminal.event(ends("web2"));
  lines = terminal.lines();
  REQUIRE(lines.size() == 5);
  CHECK(lines[1] == "  web2   done             1.2 s");
  CHECK(masked(lines[2]).starts_with("  web#   running"));
  CHECK(masked(lines[3]).starts_with("  web#   waiting"));
  CHECK(lines[4] == "  2 at work, 1 of 4 hosts ended, 1 to come");

  terminal.event(ends("web1"));
  terminal.event(ends("web3", "failed"));
  terminal.event({{"type", "run.finished"}, {"state", "failed_undone"}, {"ms", 3000}});
  lines = terminal.lines();
  REQUIRE(lines.size() == 6);
  CHECK(lines[3] == "  web3   failed           1.2 s");
  CHECK(lines[4].empty());
  CHECK(lines[5] == "failed after 3.0 s; all that it changed is undone");
}

TEST_CASE("many hosts on a low terminal: as many lines as there is room for") {
  Terminal terminal(60, 10);
  terminal.event(step("pull", 200));
  for (int i = 1; i <= 200; ++i) terminal.event(begins("web" + std::to_string(i)));
  const auto lines = terminal.lines();
  REQUIRE(lines.size() == 1 + 7 + 1);
  CHECK(lines[7] == "  and 194 more at work");
  CHECK(lines[8] == "  200 at work, 0 of 200 hosts ended");
}

TEST_CASE("a narrow terminal, and one that becomes narrower") {
  Terminal terminal(70, 24);
  terminal.event(step("pull", 2));
  terminal.event(begins("web1"));
  terminal.event(begins("frankfurt-2"));
  terminal.event({{"type", "task.progress"}, {"host", "web1"}, {"note", std::string(200, 'x')}});
  auto lines = terminal.lines();
  REQUIRE(lines.size() == 4);
  CHECK(display_width(lines[2]) == 69);

  terminal.size.columns = 30;
  terminal.screen.resize(30);
  REQUIRE(terminal.screen.lines().size() > 4);  // the terminal broke the long lines anew
  terminal.event({{"type", "task.progress"}, {"host", "web1"}, {"note", "short"}});
  lines = terminal.lines();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "pull");
  CHECK(display_width(lines[1]) <= 29);
  CHECK(masked(lines[2]).find("running") != std::string::npos);

  terminal.size.columns = 12;  // hardly a terminal
  terminal.screen.resize(12);
  terminal.event({{"type", "task.progress"}, {"host", "web1"}, {"note", "shorter"}});
  terminal.event(ends("web1"));
  terminal.event(ends("frankfurt-2"));
  lines = terminal.lines();
  CHECK(lines[0] == "pull");
  for (const auto& line : lines) CHECK(line.find("running") == std::string::npos);
}

TEST_CASE("hostile text moves nothing on the board") {
  Terminal terminal(80, 24);
  terminal.event(step("pull", 1));
  terminal.event(begins("web1"));
  // The reporter cleans before any sink; what is clean cannot leave its line.
  terminal.event({{"type", "task.output"}, {"host", "web1"}, {"line", core::clean("a\x1b[2J\x1b[Hb\rc")}});
  const auto lines = terminal.lines();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "pull");
  CHECK(lines[1].ends_with("| ab c"));
}

TEST_CASE("after a stop the shell's lines are left alone") {
  Terminal terminal(80, 24);
  terminal.event(step("pull", 1));
  terminal.event(begins("web1"));
  terminal.lines();
  terminal.screen.write("[1]+  Stopped\n$ fg\n");
  terminal.board.forget();
  terminal.event({{"type", "task.progress"}, {"host", "web1"}, {"note", "on"}});
  const auto lines = terminal.lines();
  REQUIRE(lines.size() == 5);
  CHECK(lines[2] == "[1]+  Stopped");
  CHECK(lines[4].ends_with("on"));
}

TEST_CASE("when a board is wanted") {
  std::map<std::string, std::string> variables{{"TERM", "xterm-256color"}};
  const Environment environment = [&](const char* name) { return variables[name]; };
  CHECK(wants_board("auto", true, environment));
  CHECK_FALSE(wants_board("auto", false, environment));
  CHECK_FALSE(wants_board("plain", true, environment));
  CHECK(wants_board("live", false, environment));
  variables["CI"] = "true";
  CHECK_FALSE(wants_board("auto", true, environment));
  variables = {{"TERM", "dumb"}};
  CHECK_FALSE(wants_board("auto", true, environment));
  variables = {};
  CHECK_FALSE(wants_board("auto", true, environment));
}
