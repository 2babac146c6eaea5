// The scheduler's promises (STYLE.md §4), on operations that complete when the test says so.
#include <catch2/catch_test_macros.hpp>

#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/operation.hpp"
#include "lua/runtime.hpp"
#include "lua/stack.hpp"

using namespace deployrun;

namespace {

struct World {
  int cancelled = 0;
  int destroyed = 0;
  int started = 0;
  std::vector<core::Operation<int>::Done> waiting;
};

class Controlled final : public core::Operation<int> {
 public:
  explicit Controlled(World& world) : world_(world) {}
  ~Controlled() override { ++world_.destroyed; }
  void start(Done done) override {
    ++world_.started;
    done_ = done;
    world_.waiting.push_back(std::move(done));
  }
  void cancel() noexcept override {
    ++world_.cancelled;
    done_(core::cancelled());
  }

 private:
  World& world_;
  Done done_;
};

class Immediate final : public core::Operation<int> {
 public:
  explicit Immediate(core::Result<int> result) : result_(std::move(result)) {}
  void start(Done done) override { done(std::move(result_)); }
  void cancel() noexcept override {}

 private:
  core::Result<int> result_;
};

void push_int(lua_State* L, const int& value) { lua_pushinteger(L, value); }

World& world(lua_State* L) { return *static_cast<World*>(lua::runtime(L).options().user); }

int wait_controlled(lua_State* L) {
  return lua::guard(L, [L] {
    std::unique_ptr<core::Operation<int>> op = std::make_unique<Controlled>(world(L));
    return lua::push_operation(L, std::move(op), push_int);
  });
}
int now_seven(lua_State* L) {
  return lua::guard(L, [L] {
    std::unique_ptr<core::Operation<int>> op = std::make_unique<Immediate>(7);
    return lua::push_operation(L, std::move(op), push_int);
  });
}
int fail_now(lua_State* L) {
  return lua::guard(L, [L] {
    core::Error error{.kind = "ssh.connect", .message = "connect 10.0.0.7:22: connection refused", .hint = "is it up?"};
    error.host = "web1";
    error.details["code"] = std::int64_t{111};
    error.cause = std::make_shared<const core::Error>(core::Error{.kind = "os", .message = "ECONNREFUSED"});
    std::unique_ptr<core::Operation<int>> op = std::make_unique<Immediate>(std::move(error));
    return lua::push_operation(L, std::move(op), push_int);
  });
}
constexpr luaL_Reg kFunctions[] = {
    {"controlled", wait_controlled}, {"seven", now_seven}, {"fail", fail_now}, {nullptr, nullptr}};
int open_test(lua_State* L) { return lua::export_table(L, kFunctions); }

struct Fixture {
  World state;
  core::Loop loop;
  std::unique_ptr<lua::Runtime> vm;

  explicit Fixture(std::chrono::milliseconds stuck_after = std::chrono::seconds(10)) {
    lua::RuntimeOptions options;
    options.stuck_after = stuck_after;
    options.user = &state;
    options.modules = {{"test.raw", open_test}};
    options.stdlib_folder = STDLIB_FOLDER;
    vm = std::make_unique<lua::Runtime>(loop, options);
  }
  std::shared_ptr<lua::LuaTask> run(const std::string& body) {
    lua_State* L = vm->state();
    const std::string source =
        "local test, task = require 'test.raw', require 'native.task'\nlocal await = task.await\n" + body;
    REQUIRE(luaL_loadbuffer(L, source.data(), source.size(), "@recipe.lua") == 0);
    return vm->scheduler().spawn(L, 0, nullptr, {.name = "root", .deadline = {}, .shielded = false});
  }
  void turn() { uv_run(loop.raw(), UV_RUN_NOWAIT); }
  void turns(int count) {
    for (int i = 0; i < count; ++i) turn();
  }
  std::string value(const lua::LuaTask& task) {
    task.push_value(vm->state());
    const char* text = lua_tostring(vm->state(), -1);
    std::string out = text != nullptr ? text : luaL_typename(vm->state(), -1);
    lua_pop(vm->state(), 1);
    return out;
  }
};

}  // namespace

TEST_CASE("an operation that completes inside start resumes its task", "[scheduler]") {
  Fixture f;
  auto task = f.run("return await(test.seven()) + await(test.seven())");
  f.loop.run();
  REQUIRE(task->finished());
  CHECK(f.value(*task) == "14");
}

TEST_CASE("an operation that completes later resumes its task on a turn of its own", "[scheduler]") {
  Fixture f;
  auto task = f.run("return await(test.controlled())");
  f.turns(3);
  REQUIRE(f.state.waiting.size() == 1);
  f.state.waiting[0](41);
  CHECK_FALSE(task->finished());  // never from inside the callback
  f.loop.run();
  CHECK(f.value(*task) == "41");
  CHECK(f.state.destroyed == 1);
}

TEST_CASE("an error survives C++ to Lua to C++ with host, hint, details and cause", "[scheduler][error]") {
  Fixture f;
  auto task = f.run(
      "local ok, e = pcall(await, test.fail()); assert(e.kind == 'ssh.connect' and e.code == 111);"
      "e.step = 'pull'; error(e, 0)");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "ssh.connect");
  CHECK(task->failure()->host == "web1");
  CHECK(task->failure()->step == "pull");
  CHECK(task->failure()->hint == "is it up?");
  CHECK(std::get<std::int64_t>(task->failure()->details.at("code")) == 111);
  REQUIRE(task->failure()->cause);
  CHECK(task->failure()->cause->message == "ECONNREFUSED");
}

TEST_CASE("cancelling a task releases what it waits for first, and a caught cancellation comes back", "[scheduler]") {
  Fixture f;
  auto task = f.run(
      "local ok, e = pcall(await, test.controlled()); assert(not ok and e.kind == 'cancelled');"
      "return await(test.controlled())");
  f.turns(3);
  task->cancel(core::cancelled());
  CHECK(f.state.cancelled == 1);
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "cancelled");
  CHECK(f.state.started == 1);  // the second wait never began
}

TEST_CASE("a shielded task goes on when its parent is cancelled", "[scheduler]") {
  Fixture f;
  auto task = f.run(
      "local ok = pcall(await, test.controlled()); assert(not ok);"
      "local v = task.shielded(1000, 'undo', function() return await(test.seven()) end);"
      "return v");
  f.turns(3);
  task->cancel(core::cancelled());
  f.loop.run();
  CHECK(f.value(*task) == "7");
}

TEST_CASE("a time limit cancels what runs below it", "[scheduler]") {
  Fixture f;
  auto task = f.run("return task.within(200, 'slow thing', function() return await(test.controlled()) end)");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "timeout");
  CHECK(task->failure()->message.find("slow thing") != std::string::npos);
  CHECK(f.state.cancelled == 1);
}

TEST_CASE("each: one failure cancels the siblings and every item has an outcome", "[scheduler]") {
  Fixture f;
  auto task = f.run(R"(
    local outcomes = task.each({1, 2, 3}, {}, function(i)
      if i == 2 then error({ kind = 'x.bad', message = 'two' }, 0) end
      return await(test.controlled())
    end)
    assert(not outcomes[2].ok and outcomes[2].error.kind == 'x.bad')
    assert(not outcomes[1].ok and outcomes[1].error.kind == 'cancelled', outcomes[1].error)
    assert(not outcomes[3].ok)
    return 'fine')");
  f.loop.run();
  CHECK((task->failure() ? core::describe(*task->failure()) : "") == "");
  CHECK(f.value(*task) == "fine");
  CHECK(f.state.cancelled == 2);
}

TEST_CASE("each: siblings finish when the step says so", "[scheduler]") {
  Fixture f;
  auto task = f.run(R"(
    local outcomes = task.each({1, 2, 3}, { on_failure = 'finish', limit = 2 }, function(i)
      if i == 1 then error({ kind = 'x.bad', message = 'one' }, 0) end
      return await(test.seven())
    end)
    return tostring(outcomes[1].ok) .. outcomes[2].value .. outcomes[3].value)");
  f.loop.run();
  CHECK(f.value(*task) == "false77");
}

TEST_CASE("a failure that nobody joined fails the parent", "[scheduler]") {
  Fixture f;
  auto task =
      f.run("task.spawn(function() error({kind = 'x.lost', message = 'm'}, 0) end); return await(test.controlled())");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "x.lost");
}

TEST_CASE("waiting across pcall, iterators and metamethods works; in a coroutine of one's own it is refused",
          "[scheduler]") {
  Fixture f;
  auto task = f.run(R"(
    local sum = 0
    for v in function(_, last) if not last then return await(test.seven()) end end do sum = sum + v end
    local t = setmetatable({}, { __index = function() return await(test.seven()) end })
    sum = sum + t.x
    local co = coroutine.wrap(function() local ok, e = pcall(await, test.seven()); return e.kind end)
    return sum .. co())");
  f.loop.run();
  CHECK((task->failure() ? core::describe(*task->failure()) : "") == "");
  CHECK(f.value(*task) == "14usage");
}

TEST_CASE("a foreign yield ends the task with a usage error", "[scheduler]") {
  Fixture f;
  auto task = f.run("coroutine.yield(1)");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "usage");
}

TEST_CASE("an error in the recipe's own code keeps its place and a traceback", "[scheduler][error]") {
  Fixture f;
  auto task = f.run("local x = nil\nreturn x.field");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "recipe");
  CHECK(std::get<std::string>(task->failure()->details.at("where")) == "recipe.lua:4");
  CHECK(task->failure()->details.contains("traceback"));
}

TEST_CASE("the runtime may die while tasks wait", "[scheduler]") {
  Fixture f;
  auto task = f.run("task.spawn(function() await(test.controlled()) end); await(test.controlled())");
  f.turns(4);
  task.reset();
  f.vm.reset();
  CHECK(f.state.destroyed == 2);
}

TEST_CASE("Lua that computes without end is stopped where it is, with an error", "[scheduler][watchdog]") {
  Fixture f(std::chrono::milliseconds(100));
  auto task = f.run("local n = 0\nwhile true do\n  n = n + 1\nend");
  auto other = f.run("return await(test.seven())");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "recipe.stuck");
  const std::string where = std::get<std::string>(task->failure()->details.at("where"));
  CHECK((where >= "recipe.lua:4" && where <= "recipe.lua:6"));  // two lines of the fixture come before
  CHECK(f.value(*other) == "7");
}

TEST_CASE("whoever catches that it was stopped has time to clean up", "[scheduler][watchdog]") {
  Fixture f(std::chrono::milliseconds(100));
  auto task = f.run(
      "local ok, e = pcall(function() while true do end end)\n"
      "local sum = 0\nfor i = 1, 1000 do sum = sum + i end\n"
      "return e.kind .. ' ' .. sum .. ' ' .. await(test.seven())");
  f.loop.run();
  CHECK(f.value(*task) == "recipe.stuck 500500 7");
}

TEST_CASE("catching it again and again does not help", "[scheduler][watchdog]") {
  Fixture f(std::chrono::milliseconds(50));
  auto task = f.run("while true do pcall(function() while true do end end) end");
  auto in_coroutine = f.run("coroutine.wrap(function() while true do end end)()");
  f.loop.run();
  REQUIRE(task->failure());
  CHECK(task->failure()->kind == "recipe.stuck");
  REQUIRE(in_coroutine->failure());
  CHECK(in_coroutine->failure()->kind == "recipe.stuck");
}

TEST_CASE("many short tasks are not mistaken for a long one", "[scheduler][watchdog]") {
  Fixture f(std::chrono::milliseconds(100));
  auto task =
      f.run("for _ = 1, 60 do local n = 0; for i = 1, 200000 do n = n + i end; await(test.seven()) end return 'done'");
  f.loop.run();
  CHECK(f.value(*task) == "done");
}
