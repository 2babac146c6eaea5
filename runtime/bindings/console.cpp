// `native.console.raw`: lines that a person types.
#include "console/console.hpp"

#include "bindings/context.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/runtime.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

/// With what its completion needs: the Lua function stays in the registry as long as this lives.
struct Prompt {
  std::unique_ptr<console::Console> console;
  lua_State* L = nullptr;
  int function = LUA_NOREF;
};

namespace {
int line(lua_State* L);
int close(lua_State* L);
}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<bindings::Prompt> {
  static constexpr const char* kName = "console";
  static constexpr luaL_Reg kMethods[] = {{"line", bindings::line}, {"close", bindings::close}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

void push_line(lua_State* L, const console::Line& line) {
  if (line) {
    lua::push_string(L, *line);
  } else {
    lua_pushnil(L);
  }
}

/// line(prompt) → operation: text, or nil at the end of the input.
int line(lua_State* L) {
  return lua::guard(L, [L] {
    const auto prompt = lua::check_object<Prompt>(L, 1);
    return lua::push_operation(L, prompt->console->line(lua::check_string(L, 2)), push_line);
  });
}

int close(lua_State* L) {
  return lua::guard(L, [L] {
    const auto prompt = lua::check_object<Prompt>(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, prompt->function);
    prompt->function = LUA_NOREF;
    prompt->console.reset();
    context(L).on_interrupt = nullptr;
    return 0;
  });
}

/// What the Lua function says may stand there; a failure in it is no completion.
std::vector<std::string> complete(const Prompt& prompt, const std::string& text) {
  std::vector<std::string> names;
  lua_State* L = prompt.L;
  if (prompt.function == LUA_NOREF) return names;
  const int top = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, prompt.function);
  lua::push_string(L, text);
  if (lua_pcall(L, 1, 1, 0) == 0 && lua_istable(L, -1)) {
    for (int i = 1;; ++i) {
      lua_rawgeti(L, -1, i);
      if (lua_type(L, -1) != LUA_TSTRING) break;
      names.emplace_back(lua_tostring(L, -1));
      lua_pop(L, 1);
    }
  }
  lua_settop(L, top);
  return names;
}

/// open(terminal, history, complete?) → console
int open(lua_State* L) {
  return lua::guard(L, [L] {
    auto prompt = std::make_shared<Prompt>();
    prompt->L = lua::runtime(L).state();
    console::Options options;
    options.terminal = lua::check_boolean(L, 1);
    options.history = lua::check_string(L, 2);
    if (lua_isfunction(L, 3)) {
      lua_pushvalue(L, 3);
      prompt->function = luaL_ref(L, LUA_REGISTRYINDEX);
      options.complete = [prompt = prompt.get()](const std::string& text) { return complete(*prompt, text); };
    }
    prompt->console = std::make_unique<console::Console>(context(L).loop, std::move(options));
    context(L).on_interrupt = [living = std::weak_ptr<Prompt>(prompt)] {
      const auto there = living.lock();
      return there && there->console && there->console->interrupt();
    };
    lua::push_object(L, std::move(prompt));
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"open", open}, {nullptr, nullptr}};

}  // namespace

int open_console(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
