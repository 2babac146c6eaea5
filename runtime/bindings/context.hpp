// What the bindings share: built once by cli/, passed down, never global.
#pragma once

#include <filesystem>
#include <functional>

#include "lua/runtime.hpp"

namespace deployrun::core {
class Redactor;
}
namespace deployrun::http {
class Client;
}
namespace deployrun::report {
class Collector;
class Reporter;
}  // namespace deployrun::report
namespace deployrun::journal {
enum class Point;
}

namespace deployrun::bindings {

struct Context {
  core::Loop& loop;
  core::Redactor& redactor;
  http::Client& http;
  report::Reporter& reporter;
  std::filesystem::path project;                            ///< the folder that holds .deployrun/
  std::function<void(journal::Point, int)> on_journal_row;  ///< test seam: before and after each row; may be empty
  report::Collector* collector = nullptr;                   ///< keeps the events of a run whose page is wanted
  std::function<bool()> on_interrupt{};  ///< has SIGINT first; true: it was meant for it, and the run goes on
  bool lock_refusal_told = false;        ///< see register_secret
};

inline Context& context(lua_State* L) { return *static_cast<Context*>(lua::runtime(L).options().user); }

}  // namespace deployrun::bindings
