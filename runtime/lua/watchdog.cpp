#include "lua/watchdog.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>
#include <string>

#include "core/error.hpp"
#include "lua/error.hpp"

namespace deployrun::lua {

namespace {

constexpr int kTicks = 10;          // of a limit
constexpr int kPatience = 3;        // times that a recipe may catch the error and go on
constexpr int kSignal = SIGVTALRM;  // nobody else's here

// A signal handler has nothing but process-wide state to look at: what runs Lua now, on the thread that is watched.
Watchdog* volatile running = nullptr;

}  // namespace

void Watchdog::on_tick(int /*signal*/) {
  Watchdog* const dog = running;
  if (dog == nullptr) return;
  dog->ticks_ = dog->ticks_ + 1;
  if (dog->ticks_ > kTicks) lua_sethook(dog->L_, &Watchdog::stop, LUA_MASKCOUNT, 1);
}

void Watchdog::stop(lua_State* L, lua_Debug* where) {
  Watchdog* const dog = running;
  if (dog == nullptr) {
    lua_sethook(L, nullptr, 0, 0);
    return;
  }
  dog->stopped_ = dog->stopped_ + 1;
  if (dog->stopped_ < kPatience) {
    // Whoever catches this has as much time again to clean up.
    lua_sethook(L, nullptr, 0, 0);
    dog->ticks_ = 0;
  }
  lua_getinfo(L, "Sl", where);
  {
    core::Error error{.kind = "recipe.stuck",
                      .message = "computed for " + std::to_string(dog->limit_.count()) + " ms without waiting",
                      .hint = "a loop without end? what takes long belongs into a command or a file"};
    error.details["where"] = std::string(where->short_src) + ":" + std::to_string(where->currentline);
    push_error(L, error);
  }  // nothing of C++ is left when the error passes
  lua_error(L);
}

Watchdog::Watchdog(lua_State* L, std::chrono::milliseconds limit) : L_(L), limit_(limit) {
  if (limit_.count() == 0) return;
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = &Watchdog::on_tick;
    action.sa_flags = SA_RESTART;
    sigaction(kSignal, &action, nullptr);
  });
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kSignal;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) != 0) return;
  const auto tick = std::chrono::nanoseconds(limit_) / kTicks;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(tick);
  itimerspec every{};
  every.it_interval = {static_cast<time_t>(seconds.count()), static_cast<long>((tick - seconds).count())};
  every.it_value = every.it_interval;
  timer_settime(timer_, 0, &every, nullptr);
  armed_ = true;
}

Watchdog::~Watchdog() {
  if (armed_) timer_delete(timer_);
}

Watchdog::Running::Running(Watchdog& dog) noexcept : outer_(running), dog_(dog) {
  dog_.ticks_ = 0;
  dog_.stopped_ = 0;
  running = &dog_;
}

Watchdog::Running::~Running() {
  running = outer_;
  lua_sethook(dog_.L_, nullptr, 0, 0);
}

}  // namespace deployrun::lua
