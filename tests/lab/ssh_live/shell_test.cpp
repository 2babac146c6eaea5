// A shell with a terminal, and somebody who types from a script.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <deque>

#include "server.hpp"
#include "ssh/shell.hpp"
#include "ssh/transport.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Types the next line when what it waits for has been drawn.
class Script final : public core::Console {
 public:
  struct Line {
    std::string after;
    std::string keys;
    std::optional<Size> resize;
  };
  struct State {
    std::string drawn;
    std::size_t seen = 0;
    std::deque<Line> lines;
    Size size{100, 30};
    bool raw = false;
    bool held = false;
  };

  Script(core::Loop& loop, std::shared_ptr<State> state) : loop_(loop), state_(std::move(state)) {}
  ~Script() override { stop(); }
  Size size() const override { return state_->size; }
  std::string type() const override { return "xterm"; }
  void start_raw(Events events) override {
    events_ = std::move(events);
    state_->raw = true;
    next();
  }
  void stop() noexcept override { state_->raw = false; }
  void hold(bool held) override { state_->held = held; }
  void write(std::string bytes, std::function<void()> written) override {
    state_->drawn += bytes;
    loop_.defer([written = std::move(written)] { written(); });
    next();
  }

 private:
  void next() {
    if (state_->lines.empty() || !state_->raw) return;
    const Line line = state_->lines.front();
    const std::size_t at = state_->drawn.find(line.after, state_->seen);
    if (at == std::string::npos) return;
    state_->seen = at + line.after.size();
    state_->lines.pop_front();
    loop_.defer([this, line, alive = std::weak_ptr<bool>(alive_)] {
      if (alive.expired()) return;
      if (line.resize) {
        state_->size = *line.resize;
        events_.resized();
      }
      if (!line.keys.empty()) events_.keys(line.keys);
      next();
    });
  }

  core::Loop& loop_;
  std::shared_ptr<State> state_;
  Events events_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

struct Played {
  core::Result<ssh::Exit> exit;
  std::shared_ptr<Script::State> state;
};

Played play(core::Loop& loop, const std::shared_ptr<ssh::Session>& host, std::deque<Script::Line> lines,
            const std::string& command = "") {
  auto state = std::make_shared<Script::State>();
  state->lines = std::move(lines);
  ssh::Shell shell(host, std::make_unique<Script>(loop, state), command);
  auto exit = wait(loop, shell);
  return {std::move(exit), state};
}

}  // namespace

TEST_CASE("a shell has a terminal, its size and its changes") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Played played = play(loop, host,
                             {{"", "PS1=; echo size-$(stty size)- $TERM; tty\n", {}},
                              {"size-30 100- xterm", "", core::Console::Size{132, 43}},
                              {"/dev/pts/", "echo size-$(stty size)-\n", {}},
                              {"size-43 132-", "exit 42\n", {}}});
  INFO(played.state->drawn);
  REQUIRE(played.exit.ok());
  CHECK(played.exit->code == 42);
  CHECK(played.state->lines.empty());
  CHECK(!played.state->raw);
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("keys that end a program here end one there, and signals have a code") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Played interrupted =
      play(loop, host, {{"ready", "\x03", {}}}, "trap 'exit 9' INT; echo ready; sleep 60 & wait");
  INFO(interrupted.state->drawn);
  REQUIRE(interrupted.exit.ok());
  CHECK(interrupted.exit->code == 9);
  const Played killed = play(loop, host, {}, "kill -KILL $$");
  REQUIRE(killed.exit.ok());
  CHECK(killed.exit->code == 137);
  CHECK(killed.exit->signal == "KILL");
}

TEST_CASE("a megabyte is drawn to its last line before the shell ends") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Played played = play(loop, host, {}, "seq 1 150000");
  REQUIRE(played.exit.ok());
  CHECK(played.exit->code == 0);
  CHECK(played.state->drawn.ends_with("150000\r\n"));
}

TEST_CASE("a shell that is cancelled, cut off or refused gives the console back") {
  core::Loop loop;
  Server server;
  auto host = session(loop, server);
  auto state = std::make_shared<Script::State>();
  {
    ssh::Shell shell(host, std::make_unique<Script>(loop, state), "echo ready; sleep 60");
    bool done = false;
    std::string kind;
    shell.start([&](core::Result<ssh::Exit> exit) {
      kind = exit ? "" : exit.error().kind;
      done = true;
      loop.stop();
    });
    while (state->drawn.find("ready") == std::string::npos) uv_run(loop.raw(), UV_RUN_ONCE);
    SECTION("cancelled") {
      shell.cancel();
      run_until(loop, done);
      CHECK(kind == "cancelled");
    }
    SECTION("cut off") {
      host->close();
      run_until(loop, done);
      CHECK(kind == "ssh.closed");
    }
  }
  CHECK(!state->raw);

  Server strict({"PermitTTY no"});
  const Played refused = play(loop, session(loop, strict), {});
  REQUIRE(!refused.exit.ok());
  CHECK(refused.exit.error().kind == "ssh.pty");
}
