// The faces of this machine: process, files, git, log.
#include <unistd.h>

#include <filesystem>

#include "vm.hpp"

using namespace deployrun;
using bindings::test::Vm;

namespace {

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("deployrun-unit-local-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  /// Lua source that binds the faces and `dir`.
  std::string prelude() const {
    return "local process, files, git, log = require 'native.process', require 'native.files', require 'native.git', "
           "require "
           "'native.log'\nlocal dir = '" +
           path_.string() + "'\n";
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("process.run: result, check, lines, timeout") {
  const Folder folder;
  Vm vm;
  vm.run(folder.prelude() + R"(
    local result = process.run({ "sh", "-c", "printf out; printf err >&2; exit 3" }, { check = false })
    assert(result.stdout == "out" and result.stderr == "err" and result.code == 3 and result.ms >= 0 and not result.signal)

    local ok, err = pcall(process.run, { "sh", "-c", "echo first >&2; echo 'last words' >&2; exit 4" })
    assert(not ok and err.kind == "process.exit" and err.code == 4 and err.stderr == "first\nlast words\n")
    assert(err.message == "sh: exit code 4: last words", err.message)
    assert(err.command:find("sh %-c 'echo first"))

    local lines = {}
    local told = process.run({ "sh", "-c", "echo a; echo b >&2; printf c" }, { on_line = function(line, output)
      require("native.task").sleep(1)
      lines[#lines + 1] = output .. ":" .. line
    end })
    table.sort(lines)
    assert(table.concat(lines, " ") == "stderr:b stdout:a stdout:c", table.concat(lines, " "))
    assert(told.stdout == "a\nc")

    ok, err = pcall(process.run, { "sleep", "20" }, { timeout = "50ms" })
    assert(not ok and err.kind == "timeout", err.kind)
    ok, err = pcall(process.run, { "sleep", "20" }, { timeout = "50ms", on_line = function() end })
    assert(not ok and err.kind == "timeout", err.kind)
    assert(process.run({ "pwd" }, { cwd = dir }).stdout == dir .. "\n")
  )");
  CHECK(vm.fails(folder.prelude() + "process.run { 'deployrun-no-such' }").kind == "process.spawn");
  CHECK(vm.fails(folder.prelude() + "process.run({ 'true' }, { timeout = 5 })").kind == "usage");
  const core::Error unknown = vm.fails(folder.prelude() + "process.run({ 'true' }, { stdim = 'x' })");
  CHECK(unknown.kind == "usage");
  CHECK(unknown.hint == "did you mean `stdin`?");
  CHECK(vm.fails(folder.prelude() + "process.run 'true'").kind == "usage");
  CHECK(vm.fails(folder.prelude() + "process.run { 'echo', 1 }").kind == "usage");
}

TEST_CASE("a callback that fails ends the program and is what is raised") {
  const Folder folder;
  Vm vm;
  const core::Error error = vm.fails(folder.prelude() + R"(
    process.run({ "sh", "-c", "echo x; exec sleep 20" }, { on_line = function() error({ kind = "mine.broken", message = "no" }, 0) end })
  )");
  CHECK(core::describe(error).find("mine.broken") != std::string::npos);
}

TEST_CASE("files: write, read, stat, list, remove") {
  const Folder folder;
  Vm vm;
  vm.run(folder.prelude() + R"(
    local path = dir .. "/sub/a.txt"
    files.write(path, "hello\0world", { parents = true })
    assert(files.read(path) == "hello\0world")
    local stat = files.stat(path)
    assert(stat.type == "file" and stat.size == 11 and stat.mode == "0600" and stat.modified > 1e9)
    files.write(path, "x", { mode = "0644" })
    assert(files.stat(path).mode == "0644")
    assert(files.exists(path) and not files.exists(dir .. "/none"))
    assert(files.mkdir(dir .. "/sub/deep/er") and not files.mkdir(dir .. "/sub/deep"))
    local list = files.list(dir .. "/sub")
    assert(#list == 2 and list[1].name == "a.txt" and list[2].type == "directory")
    assert(files.remove(path) and not files.remove(path))
    assert(files.remove(dir .. "/sub", { recursive = true }))
    local ok, err = pcall(files.read, path)
    assert(not ok and err.kind == "files.not_found" and err.path == path)
    files.write(dir .. "/big", ("x"):rep(100))
    ok, err = pcall(files.read, dir .. "/big", { limit = 99 })
    assert(not ok and err.kind == "files.too_large")
    ok, err = pcall(files.write, dir .. "/m", "x", { mode = 644 })
    assert(not ok and err.kind == "usage")
    local secret = require("native.secret").value("K", "sixteen or more!")
    files.write(dir .. "/s", "K=" .. secret)
    assert(files.read(dir .. "/s") == "K=sixteen or more!")
  )");
}

TEST_CASE("yaml.load reads a file and names it") {
  const Folder folder;
  Vm vm;
  vm.run(folder.prelude() + R"(
    files.write(dir .. "/c.yml", "a: [1, 2]\n")
    local value, places = require("native.yaml").load(dir .. "/c.yml")
    assert(value.a[2] == 2 and places["a[2]"] == dir .. "/c.yml:1:8", places["a[2]"])
  )");
}

TEST_CASE("git: revision, branch, dirty, root, and what is missing") {
  const Folder folder;
  Vm vm;
  vm.run(folder.prelude() + R"(
    local here = { cwd = dir }
    local ok, err = pcall(git.revision, here)
    assert(not ok and err.kind == "git.repository", err.message)
    local function run(...) return process.run({ "git", ... }, { cwd = dir }) end
    run("init", "-q", "-b", "main")
    ok, err = pcall(git.revision, here)
    assert(not ok and err.kind == "git.revision", err.message)
    files.write(dir .. "/f", "1")
    assert(git.dirty(here))
    run("add", "f")
    run("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "one")
    assert(#git.revision(here) == 40 and git.branch(here) == "main" and not git.dirty(here))
    assert(git.root(here) == dir)
    run("checkout", "-q", "--detach")
    assert(git.branch(here) == nil)
  )");
}

TEST_CASE("log writes events with their fields") {
  const Folder folder;
  Vm vm;
  vm.run(folder.prelude() + "log.warn('disk \\27[31mfull', { free = 3 })");
  REQUIRE(vm.events.size() == 1);
  CHECK(vm.events[0]["type"] == "log");
  CHECK(vm.events[0]["level"] == "warn");
  CHECK(vm.events[0]["message"] == "disk full");
  CHECK(vm.events[0]["free"] == 3);
  CHECK(vm.fails(folder.prelude() + "log.info('x', { f = print })").kind == "usage");
}
