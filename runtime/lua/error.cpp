#include "lua/error.hpp"

#include <cstring>

namespace deployrun::lua {

namespace {

constexpr char kMetatable[] = "deployrun.error";
constexpr int kMaxDepth = 16;  // causes of causes; a cycle made in Lua ends here

void set_text(lua_State* L, const char* key, const std::string& value) {
  if (value.empty()) return;
  lua_pushlstring(L, value.data(), value.size());
  lua_setfield(L, -2, key);
}

void push_detail(lua_State* L, const core::Detail& detail) {
  std::visit(
      [L](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          lua_pushboolean(L, value ? 1 : 0);
        } else if constexpr (std::is_same_v<T, std::string>) {
          lua_pushlstring(L, value.data(), value.size());
        } else {
          lua_pushnumber(L, static_cast<lua_Number>(value));
        }
      },
      detail);
}

void push_plain(lua_State* L, const core::Error& error, int depth) {
  luaL_checkstack(L, 6, "error");
  lua_createtable(L, 0, 6);
  for (const auto& [key, detail] : error.details) {
    push_detail(L, detail);
    lua_setfield(L, -2, key.c_str());
  }
  set_text(L, "kind", error.kind);
  set_text(L, "message", error.message);
  set_text(L, "hint", error.hint);
  set_text(L, "host", error.host);
  set_text(L, "step", error.step);
  if (error.cause && depth < kMaxDepth) {
    push_plain(L, *error.cause, depth + 1);
    lua_setfield(L, -2, "cause");
  }
  if (!error.also.empty() && depth < kMaxDepth) {
    lua_createtable(L, static_cast<int>(error.also.size()), 0);
    int position = 0;
    for (const core::Error& other : error.also) {
      push_plain(L, other, depth + 1);
      lua_rawseti(L, -2, ++position);
    }
    lua_setfield(L, -2, "also");
  }
  luaL_getmetatable(L, kMetatable);
  lua_setmetatable(L, -2);
}

std::string text_field(lua_State* L, int index, const char* key) {
  lua_getfield(L, index, key);
  std::string value;
  if (lua_type(L, -1) == LUA_TSTRING) {
    std::size_t size = 0;
    const char* data = lua_tolstring(L, -1, &size);
    value.assign(data, size);
  }
  lua_pop(L, 1);
  return value;
}

core::Error from_text(lua_State* L, int index, const std::string& traceback) {
  core::Error error{.kind = "recipe"};
  const char* text = lua_tostring(L, index);
  error.message = text != nullptr ? text : std::string("(error value of type ") + luaL_typename(L, index) + ")";
  // Lua prefixes "file:line: "; taken apart so that a printer can show the line itself.
  const auto colon = error.message.find(": ");
  const auto digits = colon == std::string::npos ? std::string::npos : error.message.rfind(':', colon - 1);
  if (digits != std::string::npos && digits + 1 < colon &&
      error.message.find_first_not_of("0123456789", digits + 1) == colon) {
    error.details["where"] = error.message.substr(0, colon);
    error.message.erase(0, colon + 2);
  }
  if (!traceback.empty()) error.details["traceback"] = traceback;
  return error;
}

core::Error from_table(lua_State* L, int index, int depth);

void read_nested(lua_State* L, int index, core::Error& error, int depth) {
  lua_getfield(L, index, "cause");
  if (lua_istable(L, -1)) error.cause = std::make_shared<const core::Error>(from_table(L, lua_gettop(L), depth + 1));
  lua_pop(L, 1);
  lua_getfield(L, index, "also");
  if (lua_istable(L, -1)) {
    const int list = lua_gettop(L);
    for (int i = 1; i <= static_cast<int>(lua_objlen(L, list)); ++i) {
      lua_rawgeti(L, list, i);
      if (lua_istable(L, -1)) error.also.push_back(from_table(L, lua_gettop(L), depth + 1));
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

void read_details(lua_State* L, int index, core::Error& error) {
  static constexpr const char* kOwn[] = {"kind", "message", "hint", "host", "step", "cause", "also"};
  for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    const std::string key = lua_tostring(L, -2);
    bool own = false;
    for (const char* name : kOwn) own = own || key == name;
    if (own) continue;
    switch (lua_type(L, -1)) {
      case LUA_TBOOLEAN: error.details[key] = lua_toboolean(L, -1) != 0; break;
      case LUA_TNUMBER: {
        const double number = lua_tonumber(L, -1);
        const auto whole = static_cast<std::int64_t>(number);
        if (static_cast<double>(whole) == number) {
          error.details[key] = whole;
        } else {
          error.details[key] = number;
        }
        break;
      }
      case LUA_TSTRING: {
        std::size_t size = 0;
        const char* data = lua_tolstring(L, -1, &size);
        error.details[key] = std::string(data, size);
        break;
      }
      default: break;  // tables and objects stay on the Lua side
    }
  }
}

core::Error from_table(lua_State* L, int index, int depth) {
  luaL_checkstack(L, 8, "error");
  core::Error error{.kind = text_field(L, index, "kind"), .message = text_field(L, index, "message")};
  error.hint = text_field(L, index, "hint");
  error.host = text_field(L, index, "host");
  error.step = text_field(L, index, "step");
  if (error.kind.empty()) error.kind = "recipe";
  read_details(L, index, error);
  if (depth < kMaxDepth) read_nested(L, index, error, depth);
  return error;
}

int error_tostring(lua_State* L) {
  lua_settop(L, 1);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "kind");
  lua_getfield(L, 1, "message");
  lua_getfield(L, 1, "host");
  const char* kind = lua_tostring(L, 2) != nullptr ? lua_tostring(L, 2) : "error";
  const char* message = lua_tostring(L, 3) != nullptr ? lua_tostring(L, 3) : "";
  if (lua_isstring(L, 4) != 0) {
    lua_pushfstring(L, "%s: %s: %s", lua_tostring(L, 4), kind, message);
  } else {
    lua_pushfstring(L, "%s: %s", kind, message);
  }
  return 1;
}

}  // namespace

std::string caller(lua_State* L) {
  lua_Debug frame;
  for (int level = 0; lua_getstack(L, level, &frame) != 0; ++level) {
    lua_getinfo(L, "Sl", &frame);
    const bool script = frame.currentline > 0 && frame.source != nullptr && frame.source[0] == '@';
    if (script && std::strncmp(frame.source, "@stdlib/", 8) != 0) {
      return std::string(frame.source + 1) + ":" + std::to_string(frame.currentline);
    }
  }
  return {};
}

void push_error(lua_State* L, const core::Error& error) {
  push_plain(L, error, 0);
  if (error.is("usage") && !error.details.contains("where")) {
    const std::string where = caller(L);
    set_text(L, "where", where);
  }
}

core::Error to_error(lua_State* L, int index, const std::string& traceback) {
  if (index < 0) index = lua_gettop(L) + index + 1;
  if (lua_istable(L, index)) return from_table(L, index, 0);
  return from_text(L, index, traceback);
}

void open_errors(lua_State* L) {
  luaL_newmetatable(L, kMetatable);
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

}  // namespace deployrun::lua
