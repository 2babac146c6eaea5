#include "ssh/quote.hpp"

#include <catch2/catch_test_macros.hpp>
#include <random>

#include "core/process.hpp"

using namespace deployrun;
using namespace deployrun::ssh;

namespace {

/// What sshd does with a line: hands it to the login shell.
core::ProcessResult sh(const std::string& line, const std::string& input = {}, const std::string& shell = "sh") {
  core::Loop loop;
  core::ProcessOptions options;
  options.argv = {shell, "-c", line};
  options.input = input;
  core::Process process(loop, std::move(options));
  std::optional<core::Result<core::ProcessResult>> result;
  process.start([&](core::Result<core::ProcessResult> done) {
    result.emplace(std::move(done));
    loop.stop();
  });
  while (!result) loop.run();
  return result->value();
}

core::Secret secret(std::string value) { return {"S", std::move(value)}; }

}  // namespace

TEST_CASE("random bytes survive the shell") {
  std::mt19937 random(4711);
  for (int round = 0; round < 40; ++round) {
    Command command;
    command.argv = {"printf", "%s\\n"};
    std::string expected;
    for (int i = 0; i < 5; ++i) {
      std::string word;
      for (std::size_t size = random() % 40; size > 0; --size) word += static_cast<char>(1 + random() % 255);
      command.argv.push_back(word);
      expected += word + "\n";
    }
    CHECK(sh(command_line(command).line, {}, round % 2 == 0 ? "sh" : "bash").out == expected);
  }
}

TEST_CASE("the process group is reported before the command") {
  Command command;
  command.shell = "echo $PPID; echo err >&2";
  const auto ran = sh(command_line(command, "NONCE").line);
  CHECK(ran.err.substr(0, 6) == "NONCE ");
  CHECK(ran.err.substr(ran.err.find('\n') + 1) == "err\n");
  // Nobody listens: the command does not begin.
  const auto unheard = sh("exec 2>&-; " + command_line(command, "NONCE").line);
  CHECK(unheard.out.empty());
}

TEST_CASE("environment, plain and secret") {
  Command command;
  command.argv = {"sh", "-c", "printf '%s|' \"$A\" \"$B\" \"$C\"; cat"};
  command.env = {{"A", "a 'b' \"c\" $d `e`"}};
  command.secret_env.emplace("B", secret("s 'x' \\ \n$(touch /never)\n\n"));
  command.secret_env.emplace("C", secret(""));
  const CommandLine line = command_line(command);
  CHECK(line.line.find("touch") == std::string::npos);
  const auto ran = sh(line.line, line.preamble + "rest of the input");
  CHECK(ran.out == "a 'b' \"c\" $d `e`|s 'x' \\ \n$(touch /never)\n\n||rest of the input");
  CHECK(ran.code == 0);
  // Cut off in the middle, nothing is run.
  const auto cut = sh(line.line, line.preamble.substr(0, 12));
  CHECK(cut.out.empty());
  CHECK(cut.code != 0);
}

TEST_CASE("commands that cannot be") {
  const auto kind = [](const Command& command) {
    try {
      command_line(command);
    } catch (const core::Failure& failure) {
      return failure.error().kind;
    }
    return std::string("none");
  };
  CHECK(kind({}) == "usage");
  CHECK(kind({.argv = {"a"}, .shell = "b"}) == "usage");
  CHECK(kind({.argv = {""}}) == "usage");
  CHECK(kind({.argv = {"-c"}}) == "usage");
  CHECK(kind({.argv = {"a", std::string("b\0c", 3)}}) == "usage");
  CHECK(kind({.argv = {"a"}, .env = {{"1A", "x"}}}) == "usage");
  CHECK(kind({.argv = {"a"}, .env = {{"A;ls", "x"}}}) == "usage");
  CHECK(kind({.argv = {"a"}, .env = {{"", "x"}}}) == "usage");
  CHECK(kind({.argv = {"a"}, .secret_env = {{"A B", secret("x")}}}) == "usage");
  CHECK(kind({.argv = {"a", "-c", ""}}) == "none");
}

TEST_CASE("ending a group ends it, in every shell") {
  for (const char* shell : {"dash", "bash"}) {
    core::Loop loop;
    core::ProcessOptions options;
    options.argv = {"sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done"};
    long group = 0;
    options.on_output = [&](core::Output, std::string_view bytes) {
      group = std::stol(std::string(bytes));
      loop.stop();
    };
    core::Process process(loop, std::move(options));
    std::optional<core::Result<core::ProcessResult>> result;
    process.start([&](core::Result<core::ProcessResult> done) {
      result.emplace(std::move(done));
      loop.stop();
    });
    while (group == 0) loop.run();
    sh(kill_line(group), {}, shell);
    while (!result) loop.run();
    CHECK(result->value().signal == 9);
    CHECK(sh(kill_line(group), {}, shell).code == 0);  // nobody there: no error
  }
}
