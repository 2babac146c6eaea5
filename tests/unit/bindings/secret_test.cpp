#include "bindings/secret.hpp"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "../core/lock_limit.hpp"
#include "core/files.hpp"
#include "vm.hpp"

using namespace deployrun;
using bindings::test::Vm;

namespace {

const char kPrelude[] =
    "local secret, json, process, log = require 'native.secret', require 'native.json', require 'native.process', "
    "require 'native.log'\n";

/// Everything that was logged, as one text.
std::string logged(const Vm& vm) {
  std::string all;
  for (const auto& event : vm.events) all += event.dump() + "\n";
  return all;
}

}  // namespace

TEST_CASE("a secret passes through Lua without showing") {
  Vm vm;
  vm.run(std::string(kPrelude) + R"(
    local key = secret.value("KEY", "hunter2-hunter2")
    assert(tostring(key) == "[secret:KEY]")
    assert(("%s"):format(tostring(key)) == "[secret:KEY]")
    assert(tostring("pre" .. key .. 5 .. key) == "[secret:KEY+KEY]")
    assert(json.encode { key = key } == '{"key":"[secret:KEY]"}')
    assert(key:name() == "KEY" and secret.is(key) and not secret.is("KEY"))
    assert(key == secret.value("OTHER", "hunter2-hunter2") and key ~= secret.value("X", "hunter3-hunter3"))
    assert(key:equals("hunter2-hunter2") and not key:equals("hunter"))
    assert(("a" .. key):equals("ahunter2-hunter2"))
    assert(getmetatable(key) == false)
    assert(not pcall(function() return key .. {} end))
    assert(not pcall(function() return #key end))
    assert(secret.value("COPY", key):equals(key))
  )");
  CHECK(vm.redactor.redact("x hunter2-hunter2 x") == "x [secret:KEY] x");
}

TEST_CASE("secrets reach programs by environment and stdin, never by arguments") {
  Vm vm;
  vm.run(std::string(kPrelude) + R"(
    local key = secret.value("KEY", "hunter2-hunter2")
    local seen = process.run({ "sh", "-c", 'printf %s "$KEY"; cat' }, { env = { KEY = "<" .. key .. ">", N = 3 }, stdin = key })
    assert(seen.stdout == "<hunter2-hunter2>hunter2-hunter2")
    log.info("program says " .. seen.stdout, { detail = seen.stdout, key = key })
  )");
  CHECK(logged(vm).find("hunter2") == std::string::npos);
  CHECK(logged(vm).find("[secret:KEY]") != std::string::npos);
  const core::Error error =
      vm.fails(std::string(kPrelude) + "process.run { 'echo', secret.value('KEY', 'hunter2-hunter2') }");
  CHECK(error.kind == "usage");
  CHECK(error.message == "process.run: argument 2 is [secret:KEY]");
  CHECK_FALSE(error.hint.empty());
}

TEST_CASE("a secret that is too short to be masked is warned of") {
  Vm vm;
  vm.run(std::string(kPrelude) + "secret.value('PIN', '1234')");
  CHECK(logged(vm).find("secret PIN: shorter than 6 bytes") != std::string::npos);
}

TEST_CASE("a secret from the environment, or the nearest name") {
  ::setenv("DEPLOYRUN_TEST_TOKEN", "abcdefgh", 1);
  Vm vm;
  vm.run(std::string(kPrelude) + R"(
    assert(secret.from_env("DEPLOYRUN_TEST_TOKEN"):equals("abcdefgh"))
    assert(secret.from_env("DEPLOYRUN_TEST_NONE", { optional = true }) == nil)
  )");
  const core::Error error = vm.fails(std::string(kPrelude) + "secret.from_env('DEPLOYRUN_TEST_TOKNE')");
  CHECK(error.kind == "secret.missing");
  CHECK(error.message == "secret DEPLOYRUN_TEST_TOKNE: not in the environment");
  CHECK(error.hint == "did you mean 'DEPLOYRUN_TEST_TOKEN'?");
}

TEST_CASE("secrets from a file") {
  const auto folder = std::filesystem::temp_directory_path() / ("deployrun-unit-secret-" + std::to_string(::getpid()));
  const std::string path = (folder / "secrets").string();
  REQUIRE(
      core::write_file_now(path, "DB_PASSWORD='s3cr3t value'\nPIN=12\n", {.mode = 0644, .make_parents = true}).ok());
  Vm vm;
  vm.run(std::string(kPrelude) + "local file = secret.from_file('" + path + R"(')
    assert(file:get("DB_PASSWORD"):equals("s3cr3t value"))
    assert(file:try_get("NONE") == nil)
    assert(table.concat(file.names, " ") == "DB_PASSWORD PIN")
    local ok, err = pcall(file.get, file, "DB_PASWORD")
    assert(not ok and err.kind == "secret.missing" and err.hint == "did you mean 'DB_PASSWORD'?", err.hint)
    assert(err.message == "secret DB_PASWORD: not in " .. file.path)
  )");
  CHECK(logged(vm).find("chmod 600") != std::string::npos);
  CHECK(logged(vm).find("secret PIN: shorter") != std::string::npos);
  CHECK(vm.redactor.redact("s3cr3t value") == "[secret:DB_PASSWORD]");
  std::filesystem::remove_all(folder);
  const core::Error gone = vm.fails(std::string(kPrelude) + "secret.from_file('" + path + "')");
  CHECK(gone.kind == "secret.file");
  CHECK(gone.cause->kind == "files.not_found");
}

TEST_CASE("where the system locks no memory that is said once, and secrets work") {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!core::test::lock_no_memory()) ::_exit(10);
    Vm vm;
    vm.run(std::string(kPrelude) + R"(
      local first = secret.value("FIRST", ("hunter2-"):rep(4096))
      local second = secret.value("SECOND", ("hunter3-"):rep(4096))
      assert(first:equals(("hunter2-"):rep(4096)) and not first:equals(second)))");
    std::size_t said = 0;
    for (const auto& event : vm.events) said += event.dump().find("cannot be locked in memory") != std::string::npos;
    ::_exit(said == 1 && vm.events.back()["level"] == "debug" ? 0 : 12);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
