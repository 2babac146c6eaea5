// What passes between C++ and Lua: destructors run, and the environment keeps its word.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "../scratch.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/runtime.hpp"
#include "lua/stack.hpp"

using namespace deployrun;

namespace {

int alive = 0;
struct Counted {
  Counted() { ++alive; }
  ~Counted() { --alive; }
};

int lua_error_passes(lua_State* L) {
  return lua::guard(L, [L]() -> int {
    const Counted counted;
    return luaL_error(L, "raised while a C++ object lives");
  });
}
int cpp_failure(lua_State* L) {
  return lua::guard(L, []() -> int {
    const Counted counted;
    throw core::Failure({.kind = "usage", .message = "thrown"});
  });
}
int with_options(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 1, "demo.call");
    options.string("image");
    options.integer("count");
    options.finish();
    return 0;
  });
}

struct Vm {
  core::Loop loop;
  lua::Runtime runtime;
  explicit Vm(bool unsafe = false, std::filesystem::path folder = ".")
      : runtime(loop, make(unsafe, std::move(folder))) {}
  static lua::RuntimeOptions make(bool unsafe, std::filesystem::path folder) {
    lua::RuntimeOptions options;
    options.stdlib_folder = STDLIB_FOLDER;
    options.unsafe = unsafe;
    options.recipe_folder = std::move(folder);
    return options;
  }
  /// The error's message, or "" when the code ran.
  core::Error run(const std::string& code, lua_CFunction function = nullptr) {
    lua_State* L = runtime.state();
    REQUIRE(luaL_loadbufferx(L, code.data(), code.size(), "@recipes/r.lua", "t") == 0);
    if (function != nullptr) {
      lua_pushcfunction(L, function);
    } else {
      lua_pushnil(L);
    }
    core::Error error;
    if (lua_pcall(L, 1, 0, 0) != 0) error = lua::to_error(L, -1);
    lua_settop(L, 0);
    return error;
  }
};

}  // namespace

TEST_CASE("C++ destructors run when a Lua error passes and when a C++ failure becomes one", "[guard]") {
  Vm vm;
  alive = 0;
  CHECK(vm.run("local f = ...; f()", lua_error_passes).message.find("raised while") != std::string::npos);
  CHECK(alive == 0);
  CHECK(vm.run("local f = ...; f()", cpp_failure).kind == "usage");
  CHECK(alive == 0);
}

TEST_CASE("an unknown option names the nearest one and the caller's line", "[options]") {
  Vm vm;
  const core::Error error = vm.run("local f = ...\n\nf { imgae = 'x' }", with_options);
  CHECK(error.kind == "usage");
  CHECK(error.message == "demo.call: option `imgae` is unknown");
  CHECK(error.hint == "did you mean `image`?");
  CHECK(std::get<std::string>(error.details.at("where")) == "recipes/r.lua:3");
  CHECK(vm.run("local f = ...; f { count = 'many' }", with_options).message ==
        "demo.call: option `count` must be a whole number, got string");
}

TEST_CASE("undeclared globals are errors, with the name", "[environment]") {
  Vm vm;
  CHECK(vm.run("verison = 1").message == "assignment to undeclared global `verison`");
  CHECK(vm.run("return verison").kind == "recipe.global");
}

TEST_CASE("what escapes or blocks is absent", "[environment]") {
  Vm vm;
  for (const char* code : {
           "require 'ffi'",
           "require 'debug'",
           "os.execute('true')",
           "io.popen('true')",
           "package.loadlib('x', 'y')",
           "os.exit(0)",
           "string.dump(function() end)",
           "require 'jit'",
           "newproxy()",
           "require '../evil'",
           "assert(load('\\27LJ\\2\\0'))",
           "assert(loadstring('\\27LJ\\2\\0'))",
           "getfenv(1)",
           "setmetatable(_G, {})",
           "setmetatable(_G, nil)",
           "debug.getregistry()",
           "package.cpath = '/tmp/?.so'; require 'evil'",
           "jit.off()",
           "package.loaders[5]('x')",
           "dofile('/proc/self/exe')",
           "assert(loadfile('/proc/self/exe'))",
       }) {
    INFO(code);
    CHECK_FALSE(vm.run(code).kind.empty());
  }
}

TEST_CASE("unsafe gives them back", "[environment]") {
  Vm vm(true);
  CHECK(vm.run("assert(require 'ffi'); assert(os.execute); assert(io.popen)").kind == "");
}

TEST_CASE("load takes text and an environment", "[environment]") {
  Vm vm;
  CHECK(vm.run("assert(load('return 1 + 1')() == 2)").kind == "");
  CHECK(vm.run("assert(load('return x', 'c', 't', { x = 5 })() == 5)").kind == "");
}

TEST_CASE("require finds the recipe's own modules and nothing in the working directory", "[environment]") {
  const test::Scratch scratch;
  const std::filesystem::path folder = scratch.folder();
  std::filesystem::create_directories(folder / "lib");
  std::ofstream(folder / "lib" / "helper.lua") << "return { answer = 42 }";
  Vm vm(false, folder);
  CHECK(vm.run("assert(require('helper').answer == 42)").kind == "");
  CHECK(vm.run("require 'CMakeLists'").message.find("no stdlib module") != std::string::npos);
}

TEST_CASE("a syntax error has file, line and column", "[environment]") {
  const test::Scratch scratch;
  const std::filesystem::path path = scratch.path("syntax.lua");
  std::ofstream(path) << "local a = 1\nlocal b = = 2\n";
  Vm vm;
  const auto result = vm.runtime.load_file(path);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().kind == "recipe.syntax");
  CHECK(std::get<std::string>(result.error().details.at("where")) == path.string() + ":2:9");
}
