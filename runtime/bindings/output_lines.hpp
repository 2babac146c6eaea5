// A running command's output as lines that Lua awaits one by one.
#pragma once

#include <lua.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/lines.hpp"
#include "core/process.hpp"
#include "core/queue.hpp"
#include "lua/guard.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

struct OutputLine {
  core::Output output;
  std::string text;
};

/// Where a command's lines wait for whoever reads them.
class OutputLines {
 public:
  using Queue = core::Queue<OutputLine>;
  const std::shared_ptr<Queue>& queue() const { return queue_; }

  void feed(core::Output output, std::string_view bytes) {
    splitter(output).feed(bytes, [&](std::string text) { queue_->push({output, std::move(text)}); });
  }
  void close() {
    for (const core::Output output : {core::Output::out, core::Output::err}) {
      splitter(output).finish([&](std::string text) { queue_->push({output, std::move(text)}); });
    }
    queue_->close();
  }

 private:
  core::LineSplitter& splitter(core::Output output) { return output == core::Output::out ? out_ : err_; }
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  core::LineSplitter out_;
  core::LineSplitter err_;
};

namespace detail {
inline int next_output_line(lua_State* L);
}

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<bindings::OutputLines> {
  static constexpr const char* kName = "output.lines";
  static constexpr luaL_Reg kMethods[] = {{"next", bindings::detail::next_output_line}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings::detail {

/// Leaves an operation for { output = "stdout" | "stderr", text }, or nil at the end.
inline int next_output_line(lua_State* L) {
  return lua::guard(L, [L] {
    std::unique_ptr<core::Operation<std::optional<OutputLine>>> next =
        std::make_unique<OutputLines::Queue::Next>(lua::check_object<OutputLines>(L, 1)->queue());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<OutputLine>& line) {
      if (!line) return lua_pushnil(state);
      lua_createtable(state, 0, 2);
      lua::set_field(state, "output", line->output == core::Output::out ? "stdout" : "stderr");
      lua::set_field(state, "text", line->text);
    });
  });
}

}  // namespace deployrun::bindings::detail
