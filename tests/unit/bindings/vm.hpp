// A VM with every native module and the stdlib from its folder; what is logged is kept.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "bindings/context.hpp"
#include "bindings/modules.hpp"
#include "core/redactor.hpp"
#include "core/text.hpp"
#include "http/client.hpp"
#include "lua/runtime.hpp"
#include "report/reporter.hpp"

namespace deployrun::bindings::test {

class Vm {
 public:
  /// `project`: the folder that holds .deployrun/.
  explicit Vm(std::filesystem::path project = ".")
      : reporter_(loop, options()),
        http_(loop),
        context_{.loop = loop,
                 .redactor = redactor,
                 .http = http_,
                 .reporter = reporter_,
                 .project = std::move(project),
                 .on_journal_row = {}} {
    reporter_.add(std::make_unique<Kept>(events));
    lua::RuntimeOptions how;
    how.stdlib_folder = STDLIB_FOLDER;
    how.modules = modules();
    how.user = &context_;
    runtime_ = std::make_unique<lua::Runtime>(loop, std::move(how));
  }

  /// Runs `body` as a task to its end; fails the test when it raises.
  void run(const std::string& body) {
    if (const auto failure = attempt(body)) FAIL(core::describe(*failure));
  }
  /// What `body` raised.
  core::Error fails(const std::string& body) {
    auto failure = attempt(body);
    REQUIRE(failure);
    return *failure;
  }

  core::Loop loop;
  core::Redactor redactor;
  std::vector<report::Json> events;

 private:
  struct Kept final : report::Sink {
    explicit Kept(std::vector<report::Json>& into) : events(into) {}
    void event(const report::Json& one) override { events.push_back(one); }
    std::vector<report::Json>& events;
  };

  report::ReporterOptions options() {
    report::ReporterOptions how;
    how.clean = [](std::string text) { return core::clean(text); };
    how.redact = [this](std::string text) { return redactor.redact(text); };
    how.now = [] { return std::chrono::system_clock::now(); };
    return how;
  }

  std::optional<core::Error> attempt(const std::string& body) {
    lua_State* L = runtime_->state();
    REQUIRE(luaL_loadbufferx(L, body.data(), body.size(), "@recipe.lua", "t") == 0);
    auto task = runtime_->scheduler().spawn(L, 0, nullptr, {.name = "root", .deadline = {}, .shielded = false});
    task->observe();
    task->on_finish([this] { loop.stop(); });
    for (int turns = 0; !task->finished() && turns < 1000; ++turns) loop.run();
    REQUIRE(task->finished());
    return task->failure();
  }

  report::Reporter reporter_;
  http::Client http_;
  Context context_;
  std::unique_ptr<lua::Runtime> runtime_;
};

}  // namespace deployrun::bindings::test
