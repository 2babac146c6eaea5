// A reader that is slow, stuck or gone: the writer goes on.
#include "report/output.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <csignal>

using namespace deployrun;
using report::Output;

namespace {

class Pipe {
 public:
  Pipe() {
    REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0);
    // The smallest pipe there is.
    REQUIRE(::fcntl(ends_[1], F_SETPIPE_SZ, 4096) > 0);
  }
  ~Pipe() {
    close_reader();
    ::close(ends_[1]);
  }
  int writer() const { return ends_[1]; }
  void close_reader() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }
  std::string take() const {
    int waiting = 0;
    ::ioctl(ends_[0], FIONREAD, &waiting);
    std::string text(static_cast<std::size_t>(waiting), '\0');
    if (waiting != 0) text.resize(static_cast<std::size_t>(::read(ends_[0], text.data(), text.size())));
    return text;
  }

 private:
  int ends_[2];
};

std::string line(int number) { return std::to_string(number) + std::string(98, '.') + "\n"; }

}  // namespace

TEST_CASE("everything arrives in order, however slowly it is read") {
  core::Loop loop;
  Pipe pipe;
  Output output(loop, pipe.writer());
  std::string expected, seen;
  for (int i = 0; i < 1000; ++i) {
    output.write(line(i));
    expected += line(i);
  }
  core::Timer reading(loop);
  std::function<void()> read = [&] {
    seen += pipe.take();
    if (seen.size() < expected.size()) reading.start(core::Milliseconds(1), read);
  };
  read();
  loop.run();
  CHECK(seen == expected);
  CHECK_FALSE(output.closed());
}

TEST_CASE("a stuck reader costs lines, not time; the loss is told") {
  core::Loop loop;
  Pipe pipe;
  Output output(loop, pipe.writer(), 10'000);
  output.on_dropped([](std::size_t lines) { return "dropped " + std::to_string(lines) + "\n"; });
  const auto begun = core::Loop::now();
  for (int i = 0; i < 1000; ++i) output.write(line(i));
  CHECK_FALSE(output.flush(core::Milliseconds(20)));
  CHECK(core::Loop::now() - begun < std::chrono::seconds(5));
  std::string seen;
  for (std::string more; !(more = pipe.take()).empty();) {
    seen += more;
    output.flush(core::Milliseconds(0));
  }
  output.write("after\n");
  CHECK(output.flush(core::Milliseconds(1000)));
  seen += pipe.take();
  CHECK(seen.find("0....") == 0);
  CHECK(seen.find("dropped 9") != std::string::npos);
  CHECK(seen.ends_with("after\n"));
}

TEST_CASE("data waits for its reader instead of being dropped") {
  core::Loop loop;
  Pipe pipe;
  Output output(loop, pipe.writer(), 10'000);
  std::size_t size = 0;
  for (int i = 0; i < 300; ++i) {
    output.write(line(i), true);
    size += line(i).size();
  }
  REQUIRE(output.full());
  Output::Drained drained(output);
  bool done = false;
  drained.start([&](const core::Result<core::Unit>& result) { done = result.ok(); });
  CHECK_FALSE(done);
  std::string seen;
  core::Timer reading(loop);
  std::function<void()> read = [&] {
    seen += pipe.take();
    if (seen.size() < size) reading.start(core::Milliseconds(1), read);
  };
  read();
  loop.run();
  CHECK(done);
  CHECK(seen.find("299....") != std::string::npos);

  Output::Drained at_once(output);
  done = false;
  at_once.start([&](const core::Result<core::Unit>& result) { done = result.ok(); });
  CHECK(done);
}

TEST_CASE("waiting for the reader can be cancelled") {
  core::Loop loop;
  Pipe pipe;
  Output output(loop, pipe.writer(), 100);
  output.write(std::string(10'000, 'x') + "\n", true);
  Output::Drained drained(output);
  std::string kind;
  drained.start([&](const core::Result<core::Unit>& result) { kind = result.error().kind; });
  drained.cancel();
  drained.cancel();
  CHECK(kind == "cancelled");
}

TEST_CASE("a reader that went away is forgotten") {
  ::signal(SIGPIPE, SIG_IGN);
  core::Loop loop;
  Pipe pipe;
  Output output(loop, pipe.writer());
  output.write("one\n");
  CHECK(output.flush(core::Milliseconds(1000)));
  pipe.close_reader();
  output.write("two\n");
  loop.run();
  CHECK(output.closed());
  output.write("three\n");
  CHECK_FALSE(output.flush(core::Milliseconds(0)));
  Output::Drained drained(output);
  bool done = false;
  drained.start([&](const core::Result<core::Unit>& result) { done = result.ok(); });
  CHECK(done);
}
