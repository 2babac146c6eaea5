#include "core/read_input.hpp"

#include <fcntl.h>
#include <pty.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <optional>

using namespace deployrun::core;

namespace {

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() { REQUIRE(::pipe2(ends, O_CLOEXEC) == 0); }
  ~Pipe() {
    ::close(ends[0]);
    close_input();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void write(std::string_view text) {
    REQUIRE(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void close_input() {
    if (ends[1] >= 0) ::close(std::exchange(ends[1], -1));
  }
};

std::optional<Result<std::string>> read_all(Loop& loop, ReadInput& input, std::function<void()> meanwhile = {}) {
  std::optional<Result<std::string>> result;
  input.start([&](Result<std::string> got) {
    result.emplace(std::move(got));
    loop.stop();
  });
  if (meanwhile) loop.defer(std::move(meanwhile));
  if (!result) loop.run();
  return result;
}

}  // namespace

TEST_CASE("a pipe is read to its end, whenever the pieces come") {
  Loop loop;
  Pipe pipe;
  ReadInput input(loop, pipe.ends[0], 100);
  pipe.write("TOKEN=");
  Timer later(loop);
  const auto result = read_all(loop, input, [&] {
    later.start(Milliseconds(5), [&] {
      pipe.write("abc\n");
      pipe.close_input();
    });
  });
  REQUIRE(result);
  REQUIRE(result->ok());
  CHECK(**result == "TOKEN=abc\n");
}

TEST_CASE("files and nothing at all") {
  Loop loop;
  const int file = ::memfd_create("input", MFD_CLOEXEC);
  REQUIRE(::write(file, "abc", 3) == 3);
  REQUIRE(::lseek(file, 0, SEEK_SET) == 0);
  ReadInput whole(loop, file, 100);
  const auto result = read_all(loop, whole);
  REQUIRE(result->ok());
  CHECK(**result == "abc");
  ::close(file);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ReadInput empty(loop, nothing, 100);
  CHECK(**read_all(loop, empty) == "");
  ::close(nothing);
}

TEST_CASE("too much, and a terminal") {
  Loop loop;
  Pipe pipe;
  pipe.write("12345678901");
  ReadInput input(loop, pipe.ends[0], 10);
  CHECK(read_all(loop, input)->error().kind == "input.too_large");
  int controller = -1;
  int terminal = -1;
  REQUIRE(::openpty(&controller, &terminal, nullptr, nullptr, nullptr) == 0);
  ReadInput person(loop, terminal, 10);
  const auto refused = read_all(loop, person);
  CHECK(refused->error().kind == "input.terminal");
  CHECK_FALSE(refused->error().hint.empty());
  ::close(controller);
  ::close(terminal);
}

TEST_CASE("cancelled, and destroyed, while nothing comes") {
  Loop loop;
  Pipe pipe;
  {
    ReadInput input(loop, pipe.ends[0], 10);
    const auto result = read_all(loop, input, [&] {
      input.cancel();
      input.cancel();
    });
    CHECK(result->error().kind == "cancelled");
  }
  bool called = false;
  {
    ReadInput input(loop, pipe.ends[0], 10);
    input.start([&](const Result<std::string>&) { called = true; });
  }
  CHECK_FALSE(called);
}
