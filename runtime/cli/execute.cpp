#include "cli/execute.hpp"

#include <unistd.h>

#include <array>
#include <csignal>

#include "bindings/modules.hpp"
#include "cli/stdlib.hpp"

namespace deployrun::cli {

namespace {

constexpr std::array<int, 3> kWatched = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t settled_code =
    -1;  // of what was executed last, for a signal handler, which sees nothing else

/// Watches the signals that ask for an end. Not counted as work: the loop ends without them.
class Signals {
 public:
  /// `taken` has SIGINT before all others, where it is set.
  Signals(core::Loop& loop, std::function<void(int)> first, const std::function<bool()>& taken)
      : first_(std::move(first)), taken_(taken) {
    for (std::size_t i = 0; i < kWatched.size(); ++i) {
      handles_[i] = new uv_signal_t;
      uv_signal_init(loop.raw(), handles_[i]);
      handles_[i]->data = this;
      uv_signal_start(
          handles_[i], [](uv_signal_t* handle, int number) { static_cast<Signals*>(handle->data)->arrived(number); },
          kWatched[i]);
      uv_unref(reinterpret_cast<uv_handle_t*>(handles_[i]));
    }
  }
  ~Signals() {
    // libuv leaves the default action behind, which has no exit code: nothing must arrive before ours.
    sigset_t ours;
    sigset_t before;
    sigemptyset(&ours);
    for (const int number : kWatched) sigaddset(&ours, number);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    for (uv_signal_t* handle : handles_) core::close_handle(handle);
    quit_on_signals();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  void arrived(int number) {
    // The journal holds every intent: the next invocation finishes or undoes what stops here.
    if (number == SIGINT && taken_ && taken_()) return;
    if (seen_) {
      uv_tty_reset_mode();
      _exit(128 + number);
    }
    seen_ = true;
    first_(number);
  }

  std::function<void(int)> first_;
  const std::function<bool()>& taken_;
  std::array<uv_signal_t*, 3> handles_{};
  bool seen_ = false;
};

core::Error interrupted(int number) {
  core::Error error = core::cancelled(std::string("interrupted (") +
                                      (number == SIGINT    ? "SIGINT"
                                       : number == SIGTERM ? "SIGTERM"
                                                           : "SIGHUP") +
                                      ")");
  error.details["signal"] = std::int64_t{number};
  return error;
}

}  // namespace

void quit_on_signals() noexcept {
  for (const int number : kWatched) {
    std::signal(number, [](int arrived) { _exit(settled_code >= 0 ? settled_code : 128 + arrived); });
  }
}

int execute(World& world, const Options& options, const std::string& module, const std::string& function,
            const std::function<core::Result<int>(lua::Runtime&)>& prepare,
            const std::function<int(lua_State*)>& finish) {
  settled_code = -1;
  lua::RuntimeOptions vm;
  vm.stdlib = embedded_stdlib();
  vm.stdlib_folder = options.stdlib;
  vm.modules = bindings::modules();
  vm.recipe_folder = options.recipe.parent_path().empty() ? "." : options.recipe.parent_path();
  vm.unsafe = options.unsafe;
  vm.user = &world.context();
  lua::Runtime runtime(world.loop(), std::move(vm));

  const auto arguments = prepare(runtime);
  if (!arguments.ok()) {
    world.report_error(arguments.error());
    return 2;
  }
  auto started = runtime.start(module, function, *arguments);
  if (!started.ok()) {
    world.report_error(started.error());
    return 2;
  }
  const std::shared_ptr<lua::LuaTask> task = *started;
  const Signals signals(
      world.loop(), [task](int number) { task->cancel(interrupted(number)); }, world.context().on_interrupt);
  // With nothing left to wait for the loop would end by itself; a task that still waits then is a defect, reported
  // below.
  task->on_finish([&world] { world.loop().stop(); });
  world.loop().run();
  if (!task->finished()) {
    world.report_error({.kind = "internal", .message = "nothing left to wait for, but the run has not ended"});
    return 1;
  }
  if (task->failure()) {
    world.report_error(*task->failure());
    return 1;
  }
  task->push_value(runtime.state());
  const int code = finish ? finish(runtime.state()) : static_cast<int>(lua_tointeger(runtime.state(), -1));
  lua_pop(runtime.state(), 1);
  settled_code = code;
  return code;
}

}  // namespace deployrun::cli
