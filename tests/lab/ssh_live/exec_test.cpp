// Commands: words, streams, codes, signals, limits, many at once, and their end.
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "core/text.hpp"
#include "distance.hpp"
#include "server.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

namespace {

/// True while a process runs whose arguments contain `marker`.
bool running(const std::string& marker) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::string words = slurp(entry.path() / "cmdline");
    for (char& byte : words) byte = byte == '\0' ? ' ' : byte;
    if (words.find(marker) != std::string::npos && words.find("ssh_live") == std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a command's output, error output, code and round trips") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const auto first = exec(loop, host, {"sh", "-c", "echo out; echo err >&2; exit 7"});
  REQUIRE(first.ok());
  CHECK(first->out == "out\n");
  CHECK(first->err == "err\n");
  CHECK(first->code == 7);
  CHECK(first->signal.empty());

  const auto before = host->transport().round_trips();
  for (int i = 0; i < 20; ++i) REQUIRE(exec(loop, host, {"true"}).ok());
  const auto trips = host->transport().round_trips() - before;
  INFO("round trips for 20 commands: " << trips);
  CHECK(trips == 20);
}

/// Nine commands' median, in ms.
std::int64_t usual_time(core::Loop& loop, const std::shared_ptr<ssh::Session>& host) {
  REQUIRE(exec(loop, host, {"true"}).ok());
  std::vector<std::int64_t> times;
  for (int i = 0; i < 9; ++i) {
    const auto ran = exec(loop, host, {"true"});
    REQUIRE(ran.ok());
    times.push_back(ran->duration.count());
  }
  std::sort(times.begin(), times.end());
  return times[4];
}

TEST_CASE("a command on a far host costs one round trip") {
  constexpr std::chrono::milliseconds kEachWay{50};
  core::Loop loop;
  Server server;
  const std::int64_t near = usual_time(loop, session(loop, server));
  Distance distance(server.port, kEachWay);
  auto options = server.options();
  options.host = "root@127.0.0.1:" + std::to_string(distance.port());
  spill(options.known_hosts[0], "127.0.0.1 " + slurp(server.folder / "host_ed25519.pub"));
  const auto host = connect(loop, options);
  INFO((host ? "" : core::describe(host.error())));
  REQUIRE(host.ok());
  const std::int64_t far = usual_time(loop, *host);
  INFO("median of a command: " << far << " ms, beside it " << near << " ms");
  CHECK(far >= 100);
  CHECK(far - near < 180);  // two would be 200
}

TEST_CASE("a command that begins to read late, and reads slowly, gets all its input") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"sh", "-c", "sleep 1.5; dd bs=65536 count=4 2>/dev/null | wc -c; sleep 0.5; wc -c"};
  options.input = std::string(8U << 20U, 'x');
  const auto ran = exec(loop, host, std::move(options));
  REQUIRE(ran.ok());
  const auto numbers = core::lines(ran->out);
  REQUIRE(numbers.size() == 2);
  CHECK(std::stoul(std::string(numbers[0])) + std::stoul(std::string(numbers[1])) == 8U << 20U);
}

TEST_CASE("a channel that is open is had while another one is being opened") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const ssh::Destination there{ssh::Destination::Kind::tcp, "127.0.0.1", server.port};
  std::unique_ptr<ssh::Channel> command, stream;
  bool early = false, done = false;
  const auto keep = [&](auto& where, core::Result<std::unique_ptr<ssh::Channel>> opened) {
    REQUIRE(opened);
    where = std::move(opened).value();
    done = command && stream;
    if (done) loop.stop();
  };
  REQUIRE(exec(loop, host, {"true"}).ok());
  REQUIRE(exec(loop, host, {"true"}).ok());  // and by the end of it there is a spare
  const auto first = host->open_channel(there, [&](auto opened) { keep(stream, std::move(opened)); });
  const auto second = host->open_channel({}, [&](auto opened) {
    early = stream == nullptr;
    keep(command, std::move(opened));
  });
  run_until(loop, done);
  CHECK(early);
}

TEST_CASE("the channels of prepared commands go ahead of streams that nobody has yet") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  host->prepare_commands(2);
  const ssh::Destination there{ssh::Destination::Kind::tcp, "127.0.0.1", server.port};
  std::vector<std::unique_ptr<ssh::Channel>> channels;
  bool both = false, all = false;
  const auto keep = [&](core::Result<std::unique_ptr<ssh::Channel>> opened) {
    REQUIRE(opened);
    channels.push_back(std::move(opened).value());
    both = channels.size() >= 2;
    all = channels.size() == 4;
    if (both) loop.stop();
  };
  std::vector<std::shared_ptr<void>> asked;
  for (int i = 0; i < 2; ++i) asked.push_back(host->open_channel(there, keep));
  run_until(loop, both);
  const auto before = host->transport().round_trips();
  for (int i = 0; i < 2; ++i) asked.push_back(host->open_channel({}, keep));
  run_until(loop, all);
  CHECK(host->transport().round_trips() == before);
  channels.clear();
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("words arrive as they are, environment and secrets too") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const auto words = exec(loop, host, {"printf", "%s|", "a b", "", "it's", "$HOME", "*", "new\nline", "\\", "-n", "ü"});
  REQUIRE(words.ok());
  CHECK(words->out == "a b||it's|$HOME|*|new\nline|\\|-n|ü|");

  ssh::ExecOptions options;
  options.command.argv = {"sh", "-c", "cat; echo; echo \"$PLAIN/$TOKEN/$OTHER\"; tr '\\0' ' ' </proc/$$/cmdline"};
  options.command.env = {{"PLAIN", "p 'q'"}};
  std::string token = "s3cret 'x' $y\nz";
  options.command.secret_env.emplace("TOKEN", core::Secret("TOKEN", std::move(token)));
  options.command.secret_env.emplace("OTHER", core::Secret("OTHER", std::string("last")));
  options.input = "the input";
  const auto ran = exec(loop, host, std::move(options));
  REQUIRE(ran.ok());
  CHECK_THAT(ran->out, ContainsSubstring("the input\np 'q'/s3cret 'x' $y\nz/last\n"));
  CHECK(server.log().find("s3cret") == std::string::npos);
}

TEST_CASE("a signal is a result, with its name") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const auto killed = shell(loop, host, "kill -KILL $$");
  REQUIRE(killed.ok());
  CHECK(killed->signal == "KILL");
  CHECK(killed->code == 137);
  const auto missing = exec(loop, host, {"no-such-program-here"});
  REQUIRE(missing.ok());
  CHECK(missing->code == 127);
}

TEST_CASE("64 MiB through stdin and back") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"cat"};
  options.input.resize(64U << 20U);
  for (std::size_t i = 0; i < options.input.size(); ++i) options.input[i] = static_cast<char>((i * 2654435761U) >> 13U);
  const std::string sent = options.input;
  options.output_limit = 65U << 20U;
  const auto echoed = exec(loop, host, std::move(options));
  REQUIRE(echoed.ok());
  CHECK(echoed->out.size() == sent.size());
  CHECK(echoed->out == sent);
}

TEST_CASE("the server renews its keys in the middle of everything") {
  core::Loop loop;
  Server server({"RekeyLimit 1M"});
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"cat"};
  options.input.assign(16U << 20U, 'r');
  options.output_limit = 17U << 20U;
  const auto echoed = exec(loop, host, std::move(options));
  REQUIRE(echoed.ok());
  CHECK(echoed->out.size() == 16U << 20U);
}

TEST_CASE("twenty commands at once over one connection") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  std::vector<std::unique_ptr<ssh::Exec>> all;
  std::size_t good = 0;
  std::size_t ended = 0;
  bool done = false;
  for (int i = 0; i < 20; ++i) {
    ssh::ExecOptions options;
    options.command.argv = {"sh", "-c", "sleep 0.1; echo " + std::to_string(i)};
    all.push_back(std::make_unique<ssh::Exec>(host, std::move(options)));
  }
  for (int i = 0; i < 20; ++i) {
    all[static_cast<std::size_t>(i)]->start([&, i](core::Result<ssh::ExecResult> result) {
      if (result && result->out == std::to_string(i) + "\n") ++good;
      done = ++ended == 20;
      if (done) loop.stop();
    });
  }
  run_until(loop, done);
  CHECK(good == 20);
}

TEST_CASE("a server that allows two sessions is enough") {
  core::Loop loop;
  Server server({"MaxSessions " + std::to_string(GENERATE(1, 2, 3))});
  const auto host = session(loop, server);
  std::vector<std::unique_ptr<ssh::Exec>> all;
  std::size_t good = 0;
  std::size_t ended = 0;
  bool done = false;
  for (int i = 0; i < 6; ++i) {
    ssh::ExecOptions options;
    options.command.argv = {"sh", "-c", "sleep 0.05; echo ok"};
    all.push_back(std::make_unique<ssh::Exec>(host, std::move(options)));
    all.back()->start([&](core::Result<ssh::ExecResult> result) {
      if (result && result->out == "ok\n") ++good;
      done = ++ended == 6;
      if (done) loop.stop();
    });
  }
  run_until(loop, done);
  CHECK(good == 6);
}

TEST_CASE("cancelled, the remote process is gone") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const std::string marker = "98" + std::to_string(::getpid());
  for (const std::string& script : {"sleep " + marker, "trap '' TERM; sleep " + marker + " & wait; wait"}) {
    ssh::ExecOptions options;
    options.command.argv = {"sh", "-c", "echo begun; " + script + "; true"};
    bool done = false;
    std::optional<core::Result<ssh::ExecResult>> result;
    ssh::Exec operation(host, [&] {
      options.on_output = [&](core::Output, std::string_view) { loop.stop(); };
      return std::move(options);
    }());
    operation.start([&](core::Result<ssh::ExecResult> value) {
      result.emplace(std::move(value));
      done = true;
      loop.stop();
    });
    loop.run();
    REQUIRE(!done);
    REQUIRE(running("sleep " + marker));
    operation.cancel();
    operation.cancel();
    run_until(loop, done);
    CHECK(result->error().is("cancelled"));
    CHECK(!running("sleep " + marker));
  }
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("too much output ends the command") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"yes"};
  options.output_limit = 100000;
  const auto ran = exec(loop, host, std::move(options));
  REQUIRE(!ran.ok());
  CHECK(ran.error().kind == "ssh.output_limit");
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("cancelled at every early moment, the session stays usable") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  for (int turns = 0; turns < 12; ++turns) {
    ssh::ExecOptions options;
    options.command.argv = {"sleep", "100"};
    ssh::Exec operation(host, std::move(options));
    bool done = false;
    bool cancelled = false;
    operation.start([&](core::Result<ssh::ExecResult> result) {
      cancelled = !result.ok() && result.error().is("cancelled");
      done = true;
      loop.stop();
    });
    for (int i = 0; i < turns; ++i) uv_run(loop.raw(), UV_RUN_NOWAIT);
    operation.cancel();
    run_until(loop, done);
    CHECK(cancelled);
  }
  for (int turns = 0; turns < 12; ++turns) {
    ssh::ExecOptions options;
    options.command.argv = {"true"};
    ssh::Exec operation(host, std::move(options));
    operation.start([](core::Result<ssh::ExecResult>) { FAIL("destroyed operations are silent"); });
    for (int i = 0; i < turns && turns < 4; ++i) uv_run(loop.raw(), UV_RUN_NOWAIT);
  }
  CHECK(exec(loop, host, {"echo", "still"})->out == "still\n");
}

TEST_CASE("a server that dies in the middle is noticed at once") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"sh", "-c", "echo begun; sleep 60"};
  std::chrono::steady_clock::time_point gone;
  options.on_output = [&](core::Output, std::string_view) {
    server.kill_all();
    gone = std::chrono::steady_clock::now();
  };
  const auto ran = exec(loop, host, std::move(options));
  REQUIRE(!ran.ok());
  CHECK(ran.error().kind == "ssh.lost");
  CHECK(ran.error().host == "127.0.0.1");
  CHECK(std::chrono::steady_clock::now() - gone < std::chrono::seconds(10));
  const auto after = exec(loop, host, {"true"});
  REQUIRE(!after.ok());
  CHECK(after.error().kind == "ssh.lost");
}

TEST_CASE("closed in the middle, everything fails and nothing leaks") {
  core::Loop loop;
  Server server;
  auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"sh", "-c", "echo begun; sleep 30"};
  options.on_output = [&](core::Output, std::string_view) { host->close(); };
  const auto ran = exec(loop, host, std::move(options));
  REQUIRE(!ran.ok());
  CHECK(ran.error().kind == "ssh.closed");
}

TEST_CASE("a silent server is given up within 45 seconds", "[.slow]") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::ExecOptions options;
  options.command.argv = {"sh", "-c", "echo begun; sleep 100"};
  auto begun = std::chrono::steady_clock::now();
  options.on_output = [&](core::Output, std::string_view) {
    server.stop_all();
    begun = std::chrono::steady_clock::now();
  };
  ssh::Exec operation(host, std::move(options));
  const auto ran = wait(loop, operation, std::chrono::seconds(60));
  REQUIRE(!ran.ok());
  CHECK(ran.error().kind == "ssh.lost");
  CHECK_THAT(ran.error().message, ContainsSubstring("no answer for 40 s"));
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(45500));
}

TEST_CASE("an idle minute is survived", "[.slow]") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  CHECK(exec(loop, host, {"true"}).ok());
  ssh::ExecOptions options;
  options.command.argv = {"sleep", "50"};
  ssh::Exec operation(host, std::move(options));
  CHECK(wait(loop, operation, std::chrono::seconds(70)).ok());
  CHECK(exec(loop, host, {"true"}).ok());
}
