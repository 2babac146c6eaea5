// `native.process.raw`: programs of this machine.
#include "core/process.hpp"

#include "bindings/context.hpp"
#include "bindings/output_lines.hpp"
#include "bindings/secret.hpp"
#include "bindings/told_lines.hpp"
#include "core/local_shell.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

/// A program whose lines come to an end with it, however it ends.
class LinedProcess final : public core::Operation<core::ProcessResult> {
 public:
  LinedProcess(core::Loop& loop, core::ProcessOptions options, std::shared_ptr<OutputLines> lines)
      : lines_(std::move(lines)), process_(loop, std::move(options)) {}
  ~LinedProcess() override { lines_->close(); }
  void start(Done done) override {
    process_.start([lines = lines_, done = std::move(done)](core::Result<core::ProcessResult> result) {
      lines->close();
      done(std::move(result));
    });
  }
  void cancel() noexcept override { process_.cancel(); }

 private:
  std::shared_ptr<OutputLines> lines_;
  core::Process process_;
};

/// Leaves { stdout, stderr, code, signal, ms }.
void push_result(lua_State* L, const core::ProcessResult& result) {
  lua_createtable(L, 0, 5);
  lua::set_field(L, "stdout", result.out);
  lua::set_field(L, "stderr", result.err);
  lua::set_field(L, "code", static_cast<double>(result.code));
  if (result.signal != 0) lua::set_field(L, "signal", static_cast<double>(result.signal));
  lua::set_field(L, "ms", static_cast<double>(result.duration.count()));
}

int lines(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_object(L, std::make_shared<OutputLines>());
    return 1;
  });
}

/// Arguments are seen by everybody on the machine (ps): a secret among them is refused.
std::vector<std::string> check_argv(lua_State* L, int index) {
  lua::check_table(L, index);
  const int count = static_cast<int>(lua_objlen(L, index));
  for (int i = 1; i <= count; ++i) {
    lua_rawgeti(L, index, i);
    if (const auto secret = to_secret(L, -1)) {
      core::Error error = core::usage("process.run: argument " + std::to_string(i) + " is " + secret->to_string());
      error.hint = "a program's arguments can be seen by all: pass it by `env` or `stdin`, or in a file";
      throw core::Failure(std::move(error));
    }
    lua_pop(L, 1);
  }
  return lua::check_strings(L, index);
}

int run(lua_State* L) {
  return lua::guard(L, [L] {
    core::ProcessOptions process;
    process.argv = check_argv(L, 1);
    lua::Options options(L, 2, "process.run");
    process.input = secret_or_string(L, options, "stdin").value_or("");
    if (auto env = secret_map(L, options, "env")) process.env = std::move(*env);
    process.clear_env = options.boolean("clear_env").value_or(false);
    process.cwd = options.string("cwd").value_or("");
    if (const auto limit = options.integer("output_limit"))
      process.output_limit = static_cast<std::size_t>(std::max<std::int64_t>(*limit, 0));
    if (const auto grace = options.milliseconds("grace")) process.grace = *grace;
    std::shared_ptr<OutputLines> wanted;
    if (options.push("lines")) wanted = lua::check_object<OutputLines>(L, -1);
    lua_pop(L, 1);
    const auto told = options.string("tell");
    options.finish();
    if (told && !wanted) {
      process.on_output = [lines = std::make_shared<ToldLines>(context(L).reporter, *told)](
                              core::Output output, std::string_view bytes) { lines->feed(output, bytes); };
    }
    std::unique_ptr<core::Operation<core::ProcessResult>> operation;
    if (wanted) {
      process.on_output = [wanted](core::Output output, std::string_view bytes) { wanted->feed(output, bytes); };
      operation = std::make_unique<LinedProcess>(context(L).loop, std::move(process), wanted);
    } else {
      operation = std::make_unique<core::Process>(context(L).loop, std::move(process));
    }
    return lua::push_operation(L, std::move(operation), push_result);
  });
}

/// Leaves { code, signal }.
void push_shell_exit(lua_State* L, const core::ShellExit& exit) {
  lua_createtable(L, 0, 2);
  lua::set_field(L, "code", static_cast<double>(exit.code));
  if (!exit.signal.empty()) lua::set_field(L, "signal", exit.signal);
}

/// shell(argv) → operation: { code, signal }
int shell(lua_State* L) {
  return lua::guard(L, [L] {
    std::vector<std::string> argv = check_argv(L, 1);
    if (argv.empty()) throw core::Failure(core::usage("process.shell: no program is named"));
    auto terminal = core::Terminal::open(context(L).loop);
    if (!terminal) throw core::Failure(terminal.error());
    std::unique_ptr<core::Operation<core::ShellExit>> operation =
        std::make_unique<core::LocalShell>(context(L).loop, std::move(terminal).value(), std::move(argv));
    return lua::push_operation(L, std::move(operation), push_shell_exit);
  });
}

constexpr luaL_Reg kFunctions[] = {{"run", run}, {"shell", shell}, {"lines", lines}, {nullptr, nullptr}};

}  // namespace

int open_process(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
