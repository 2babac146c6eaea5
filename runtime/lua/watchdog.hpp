// Ends Lua that keeps the loop from everything else: code that computes for long without waiting (a loop without end)
// is stopped where it is, with an error. Time is the main thread's own CPU time, so a busy machine stops nobody.
//
// A POSIX timer's signal looks once per tick whether the same resumption still runs; after enough of them it sets a
// debug hook, which LuaJIT allows from a signal handler and which raises at the next instruction. Compiled traces run
// no hooks: the compiler is off in our VMs.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <lua.hpp>

namespace deployrun::lua {

/// One per VM; the innermost one that is `enter`ed is watched. Used on one thread.
class Watchdog {
 public:
  /// `limit`: CPU time that one resumption may take; zero: no limit.
  Watchdog(lua_State* L, std::chrono::milliseconds limit);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// While one is alive, Lua runs: from a resumption of a coroutine to its end or its next wait.
  class Running {
   public:
    explicit Running(Watchdog& dog) noexcept;
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    Watchdog* outer_;
    Watchdog& dog_;
  };

 private:
  static void on_tick(int signal);
  static void stop(lua_State* L, lua_Debug* where);

  lua_State* L_;
  std::chrono::milliseconds limit_;
  timer_t timer_{};
  bool armed_ = false;
  volatile std::sig_atomic_t ticks_ = 0;    ///< since Lua began to run, or since it was last stopped
  volatile std::sig_atomic_t stopped_ = 0;  ///< how often this resumption was stopped: it may catch the error
};

}  // namespace deployrun::lua
