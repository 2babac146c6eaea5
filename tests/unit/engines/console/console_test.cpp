#include "console/console.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>

using namespace deployrun;

namespace {

/// Stands in for standard input while it lives; `write` and `end` are the other side.
class Input {
 public:
  Input() : saved_(::dup(STDIN_FILENO)) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    ::dup2(ends[0], STDIN_FILENO);
    ::close(ends[0]);
    out_ = ends[1];
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input() {
    end();
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }
  void write(const std::string& text) const {
    REQUIRE(::write(out_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void end() {
    if (out_ >= 0) ::close(out_);
    out_ = -1;
  }

 private:
  int saved_;
  int out_ = -1;
};

/// What waiting for one line gives.
core::Result<console::Line> next(core::Loop& loop, console::Console& console) {
  auto operation = console.line("> ");
  std::optional<core::Result<console::Line>> result;
  bool running = false;
  operation->start([&](core::Result<console::Line> value) {
    result.emplace(std::move(value));
    if (running) loop.stop();
  });
  running = true;
  while (!result) loop.run();
  return std::move(*result);
}

}  // namespace

TEST_CASE("lines come one by one, the last one without its newline, then the end") {
  Input input;
  core::Loop loop;
  console::Console console(loop, {});
  input.write("one\n\ntwo\nthr");
  input.write("ee");
  input.end();
  for (const char* wanted : {"one", "", "two", "three"}) {
    const auto line = next(loop, console);
    REQUIRE(line.ok());
    CHECK(*line == console::Line(wanted));
  }
  CHECK(*next(loop, console) == console::Line());
  CHECK(*next(loop, console) == console::Line());
}

TEST_CASE("a line that is there already completes inside start; one that is not waits for it") {
  Input input;
  core::Loop loop;
  console::Console console(loop, {});
  input.write("one\ntwo\n");
  REQUIRE(next(loop, console).ok());
  bool done = false;
  auto second = console.line("");
  second->start([&](const core::Result<console::Line>& line) { done = line.ok() && *line == console::Line("two"); });
  CHECK(done);
  core::Timer later(loop);
  later.start(core::Milliseconds{5}, [&] { input.write("three\n"); });
  CHECK(*next(loop, console) == console::Line("three"));
}

TEST_CASE("a cancelled wait loses no line, and another one may follow") {
  Input input;
  core::Loop loop;
  console::Console console(loop, {});
  int completed = 0;
  auto first = console.line("");
  first->start([&](const core::Result<console::Line>& line) {
    ++completed;
    CHECK(!line.ok());
  });
  first->cancel();
  first->cancel();
  CHECK(completed == 1);
  input.write("kept\n");
  CHECK(*next(loop, console) == console::Line("kept"));
}

TEST_CASE("a wait that is destroyed stops in silence; a second one beside it is refused") {
  Input input;
  core::Loop loop;
  console::Console console(loop, {});
  auto first = console.line("");
  first->start([](const core::Result<console::Line>&) { FAIL("completed although it was destroyed"); });
  auto second = console.line("");
  std::string kind;
  second->start([&](const core::Result<console::Line>& line) { kind = line.error().kind; });
  CHECK(kind == "usage");
  first.reset();
  input.write("x\n");
  CHECK(*next(loop, console) == console::Line("x"));
}

TEST_CASE("a line without an end is refused, a regular file is read") {
  core::Loop loop;
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fputs("from a file\n", file);
  std::fputs(std::string((1 << 20) + 100, 'x').c_str(), file);
  std::fflush(file);
  const int saved = ::dup(STDIN_FILENO);
  ::dup2(::fileno(file), STDIN_FILENO);
  ::lseek(STDIN_FILENO, 0, SEEK_SET);
  {
    console::Console console(loop, {});
    CHECK(*next(loop, console) == console::Line("from a file"));
    CHECK(next(loop, console).error().kind == "console.io");
  }
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  std::fclose(file);
}
