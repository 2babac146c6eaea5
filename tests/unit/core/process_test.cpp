#include "core/process.hpp"

#include <signal.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

#include "core/files.hpp"
#include "probe.hpp"

using namespace deployrun::core;
using test::Folder;

namespace {

Result<ProcessResult> run(ProcessOptions options) {
  Loop loop;
  Process process(loop, std::move(options));
  return test::run(loop, process);
}

/// A shell stands for «any program» here; the code under test starts none.
ProcessOptions script(const std::string& text) { return {.argv = {"sh", "-c", text}, .grace = Milliseconds{300}}; }

/// Gone or a zombie that somebody else has to reap.
bool dead(const std::string& pid) {
  const auto stat = read_file_now("/proc/" + pid + "/stat", 4096);
  return !stat.ok() || stat->find(") Z") != std::string::npos;
}

}  // namespace

TEST_CASE("output, error output and exit code") {
  const auto result = run(script("printf out; printf err >&2; exit 3"));
  REQUIRE(result.ok());
  CHECK(result->out == "out");
  CHECK(result->err == "err");
  CHECK(result->code == 3);
  CHECK(result->signal == 0);
}

TEST_CASE("arguments arrive as they are") {
  const auto result = run({.argv = {"printf", "%s|", "a b", "$HOME", "`id`", "", "*", "'"}});
  REQUIRE(result.ok());
  CHECK(result->out == "a b|$HOME|`id`||*|'|");
}

TEST_CASE("a signal that ended it is told") {
  const auto result = run(script("kill -KILL $$"));
  REQUIRE(result.ok());
  CHECK(result->signal == SIGKILL);
  CHECK(result->code == 128 + SIGKILL);
}

TEST_CASE("input is fed, larger than a pipe, both ways at once") {
  std::string input(3 << 20, 'x');
  input += "end";
  const auto result = run({.argv = {"cat"}, .input = input});
  REQUIRE(result.ok());
  CHECK(result->out == input);
}

TEST_CASE("a program that does not read its input is no failure") {
  const auto result = run({.argv = {"true"}, .input = std::string(1 << 20, 'x')});
  REQUIRE(result.ok());
  CHECK(result->code == 0);
}

TEST_CASE("without input stdin is at its end") {
  const auto result = run({.argv = {"cat"}});
  REQUIRE(result.ok());
  CHECK(result->out.empty());
}

TEST_CASE("the outputs can be opened again by name") {
  const auto result = run({.argv = {"sh", "-c", "cat /dev/stdin >/dev/stderr"}, .input = "hello"});
  REQUIRE(result.ok());
  CHECK(result->err == "hello");
}

TEST_CASE("environment and working folder") {
  const Folder folder;
  auto options = script("printf '%s %s' \"$DEPLOYRUN_X\" \"$PWD\"");
  options.env = {{"DEPLOYRUN_X", "value = $x"}};
  options.cwd = folder.path();
  CHECK(run(options)->out == "value = $x " + folder.path());

  const auto bare = run({.argv = {"/usr/bin/env"}, .env = {{"A", "1"}}, .clear_env = true});
  CHECK(bare->out == "A=1\n");
}

TEST_CASE("what cannot be started says why") {
  const auto missing = run({.argv = {"deployrun-no-such-program"}});
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().kind == "process.spawn");
  CHECK(missing.error().message == "run deployrun-no-such-program: not found");
  CHECK(missing.error().hint.find("PATH") != std::string::npos);
  CHECK(std::get<std::string>(missing.error().details.at("program")) == "deployrun-no-such-program");

  const Folder folder;
  REQUIRE(write_file_now(folder.path("plain"), "#!/bin/sh\n").ok());
  const auto denied = run({.argv = {folder.path("plain")}});
  REQUIRE_FALSE(denied.ok());
  CHECK(denied.error().hint.find("chmod") != std::string::npos);

  const auto lost = run({.argv = {"true"}, .cwd = folder.path("gone")});
  REQUIRE_FALSE(lost.ok());
  CHECK(lost.error().message.find("working folder") != std::string::npos);
}

TEST_CASE("misuse is a usage error") {
  CHECK(run({.argv = {}}).error().kind == "usage");
  CHECK(run({.argv = {"echo", std::string("a\0b", 3)}}).error().kind == "usage");
  CHECK(run({.argv = {"true"}, .env = {{"A=B", "x"}}}).error().kind == "usage");
}

TEST_CASE("output beyond the limit ends the program") {
  auto options = script("yes");
  options.output_limit = 100'000;
  const auto result = run(options);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().kind == "process.output_limit");
}

TEST_CASE("output that is only passed on has no limit") {
  auto options = script("head -c 300000 /dev/zero; printf e >&2");
  options.output_limit = 1000;
  options.keep_output = false;
  std::size_t out = 0;
  std::string err;
  options.on_output = [&](Output which, std::string_view bytes) {
    if (which == Output::out) {
      out += bytes.size();
    } else {
      err += bytes;
    }
  };
  const auto result = run(options);
  REQUIRE(result.ok());
  CHECK(result->out.empty());
  CHECK(out == 300'000);
  CHECK(err == "e");
}

TEST_CASE("cancelled: the whole group ends before it completes") {
  Loop loop;
  std::string pids;
  // The grandchild ignores TERM: only KILL after the grace ends it.
  auto options = script("(trap '' TERM; echo $$ child; while :; do sleep 1; done) & echo $!; wait");
  options.on_output = [&](Output, std::string_view bytes) { pids += bytes; };
  Process process(loop, options);
  std::optional<Result<ProcessResult>> result;
  process.start([&](Result<ProcessResult> value) { result.emplace(std::move(value)); });
  REQUIRE(test::run_until(loop, [&] { return pids.find("child") != std::string::npos; }));
  const Instant before = Loop::now();
  process.cancel();
  process.cancel();
  CHECK_FALSE(result);
  REQUIRE(test::run_until(loop, [&] { return result.has_value(); }));
  CHECK(result->error().kind == "cancelled");
  CHECK(Loop::now() - before >= Milliseconds{290});
  const std::string child = pids.substr(0, pids.find('\n'));
  CHECK(test::run_until(loop, [&] { return dead(child); }));
  process.cancel();  // after completion: nothing
}

TEST_CASE("cancelled: a program that obeys TERM is not waited for longer") {
  Loop loop;
  ProcessOptions options{.argv = {"sleep", "100"}};
  options.grace = Milliseconds{3'600'000};
  Process process(loop, std::move(options));
  std::optional<Result<ProcessResult>> result;
  process.start([&](Result<ProcessResult> value) { result.emplace(std::move(value)); });
  process.cancel();
  REQUIRE(test::run_until(loop, [&] { return result.has_value(); }));
  CHECK(result->error().kind == "cancelled");
}

TEST_CASE("destroyed before completion: killed in silence") {
  std::string pid;
  bool called = false;
  {
    Loop loop;
    auto options = script("trap '' TERM; echo $$; while :; do sleep 1; done");
    options.on_output = [&](Output, std::string_view bytes) { pid += bytes; };
    auto process = std::make_unique<Process>(loop, options);
    process->start([&](Result<ProcessResult>) { called = true; });
    REQUIRE(test::run_until(loop, [&] { return pid.ends_with('\n'); }));
    process.reset();
  }
  pid.pop_back();
  CHECK(dead(pid));
  CHECK_FALSE(called);
}

TEST_CASE("the completion may destroy the operation") {
  Loop loop;
  auto process = std::make_unique<Process>(loop, script("echo x"));
  bool called = false;
  process->start([&](Result<ProcessResult>) {
    called = true;
    process.reset();
  });
  CHECK(test::run_until(loop, [&] { return called; }));
}

TEST_CASE("a survivor that keeps the output open does not hold us for ever") {
  Loop loop;
  Process process(loop, script("sleep 60 & echo $!"));
  const Instant before = Loop::now();
  const auto result = test::run(loop, process);
  REQUIRE(result.ok());
  CHECK(result->code == 0);
  CHECK(Loop::now() - before < std::chrono::seconds(30));
  ::kill(std::stoi(result->out), SIGKILL);
}

TEST_CASE("a hundred at once") {
  Loop loop;
  std::vector<std::unique_ptr<Process>> all;
  int right = 0;
  int done = 0;
  for (int i = 0; i < 100; ++i) {
    all.push_back(std::make_unique<Process>(loop, ProcessOptions{.argv = {"echo", std::to_string(i)}}));
    all.back()->start([&, i](Result<ProcessResult> result) {
      ++done;
      if (result.ok() && result->out == std::to_string(i) + "\n") ++right;
    });
  }
  CHECK(test::run_until(loop, [&] { return done == 100; }));
  CHECK(right == 100);
}

TEST_CASE("a child's pipes as a stream: echo, half-close, end") {
  Loop loop;
  auto opened = open_process_stream(loop, {.argv = {"cat"}});
  REQUIRE(opened.ok());
  auto stream = std::move(opened).value();
  std::string got;
  bool written = false;
  bool ended = false;
  std::function<void(Result<std::string>)> reader = [&](Result<std::string> bytes) {
    REQUIRE(bytes.ok());
    if (bytes->empty()) {
      ended = true;
      return;
    }
    got += *bytes;
    stream->read(reader);
  };
  stream->read(reader);
  stream->write("hello ", [&](Result<Unit> first) {
    CHECK(first.ok());
    stream->write("world", [&](Result<Unit> second) { written = second.ok(); });
  });
  REQUIRE(test::run_until(loop, [&] { return got == "hello world"; }));
  CHECK(written);
  CHECK_FALSE(ended);
  stream->end_write();
  CHECK(test::run_until(loop, [&] { return ended; }));
}

TEST_CASE("a stream whose program fails tells its exit code and last words") {
  Loop loop;
  auto opened = open_process_stream(loop, script("echo 'permission \033[31mdenied' >&2; exit 7"));
  REQUIRE(opened.ok());
  std::optional<Result<std::string>> end;
  (*opened)->read([&](Result<std::string> bytes) { end.emplace(std::move(bytes)); });
  REQUIRE(test::run_until(loop, [&] { return end.has_value(); }));
  REQUIRE_FALSE(end->ok());
  CHECK(end->error().kind == "process.exit");
  CHECK(std::get<std::int64_t>(end->error().details.at("code")) == 7);
  CHECK(std::get<std::string>(end->error().details.at("stderr")) == "permission denied\n");
}

TEST_CASE("closing a stream cancels its reader and ends the program") {
  std::string pid;
  {
    Loop loop;
    auto opened = open_process_stream(loop, script("echo $$; exec sleep 100"));
    REQUIRE(opened.ok());
    auto stream = std::move(opened).value();
    stream->read([&](Result<std::string> bytes) { pid = *bytes; });
    REQUIRE(test::run_until(loop, [&] { return pid.ends_with('\n'); }));
    std::string kind;
    stream->read([&](Result<std::string> bytes) {
      kind = bytes.error().kind;
      stream.reset();  // a callback may destroy the stream
    });
    stream->close();
    CHECK(kind == "cancelled");
  }
  pid.pop_back();
  CHECK(dead(pid));
}
