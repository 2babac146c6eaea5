#include "bindings/value.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bindings/secret.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

constexpr char kArray[] = "json.array";
constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxNodes = 1'000'000;
constexpr double kExact = 9007199254740992.0;  // 2^53

bool is_marked(lua_State* L, int index) {
  if (lua_getmetatable(L, index) == 0) return false;
  luaL_getmetatable(L, kArray);
  const bool same = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  return same;
}

/// One walk over one value.
class Reader {
 public:
  Reader(lua_State* L, std::string path) : L_(L), path_(std::move(path)) {}

  Json read(int index) {
    if (++nodes_ > kMaxNodes) refuse("more than 1000000 values");
    switch (lua_type(L_, index)) {
      case LUA_TNIL:
      case LUA_TNONE: return nullptr;
      case LUA_TBOOLEAN: return lua_toboolean(L_, index) != 0;
      case LUA_TNUMBER: return number(lua_tonumber(L_, index));
      case LUA_TSTRING: {
        std::size_t size = 0;
        const char* data = lua_tolstring(L_, index, &size);
        return std::string(data, size);
      }
      case LUA_TTABLE: return table(index < 0 ? lua_gettop(L_) + index + 1 : index);
      case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L_, index) == nullptr) return nullptr;
        break;
      case LUA_TUSERDATA:
        if (const auto secret = to_secret(L_, index)) return secret->to_string();
        break;
      default: break;
    }
    refuse(std::string("a ") + luaL_typename(L_, index) + " cannot be written as JSON");
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw core::Failure(core::usage(path_ + ": " + why)); }

  Json number(double value) const {
    if (std::isnan(value) || std::isinf(value)) refuse("not a finite number");
    if (std::floor(value) == value && std::fabs(value) <= kExact) return static_cast<std::int64_t>(value);
    return value;
  }

  Json table(int index) {
    const void* address = lua_topointer(L_, index);
    if (std::find(open_.begin(), open_.end(), address) != open_.end()) refuse("the table contains itself");
    if (open_.size() == static_cast<std::size_t>(kMaxDepth)) refuse("nested deeper than 64");
    luaL_checkstack(L_, 4, "json");
    open_.push_back(address);
    const std::size_t count = lua_objlen(L_, index);
    Json result =
        is_marked(L_, index) || (count > 0 && only_positions(index, count)) ? array(index, count) : object(index);
    open_.pop_back();
    return result;
  }

  bool only_positions(int index, std::size_t count) {
    std::size_t seen = 0;
    for (lua_pushnil(L_); lua_next(L_, index) != 0; lua_pop(L_, 1)) {
      const double key = lua_type(L_, -2) == LUA_TNUMBER ? lua_tonumber(L_, -2) : 0;
      if (key >= 1 && key <= static_cast<double>(count) && std::floor(key) == key) {
        ++seen;
        continue;
      }
      lua_pop(L_, 2);
      return false;
    }
    return seen == count;
  }

  Json array(int index, std::size_t count) {
    Json list = Json::array();
    const std::size_t length = path_.size();
    for (std::size_t i = 1; i <= count; ++i) {
      path_ += "[" + std::to_string(i) + "]";
      lua_rawgeti(L_, index, static_cast<int>(i));
      list.push_back(read(-1));
      lua_pop(L_, 1);
      path_.resize(length);
    }
    return list;
  }

  Json object(int index) {
    Json members = Json::object();
    const std::size_t length = path_.size();
    for (lua_pushnil(L_); lua_next(L_, index) != 0; lua_pop(L_, 1)) {
      if (lua_type(L_, -2) != LUA_TSTRING) {
        refuse(lua_type(L_, -2) == LUA_TNUMBER ? "positions with gaps, or mixed with names"
                                               : std::string("a ") + luaL_typename(L_, -2) + " as key");
      }
      std::size_t size = 0;
      const char* data = lua_tolstring(L_, -2, &size);
      const std::string key(data, size);
      path_ += "." + key;
      members[key] = read(-1);
      path_.resize(length);
    }
    return members;
  }

  lua_State* L_;
  std::string path_;
  std::vector<const void*> open_;
  std::size_t nodes_ = 0;
};

}  // namespace

void mark_array(lua_State* L) {
  luaL_newmetatable(L, kArray);
  lua_setmetatable(L, -2);
}

void push_json(lua_State* L, const Json& value, bool keep_null) {
  luaL_checkstack(L, 4, "json");
  switch (value.type()) {
    case Json::value_t::boolean: lua_pushboolean(L, value.get<bool>() ? 1 : 0); return;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float: lua_pushnumber(L, value.get<double>()); return;
    case Json::value_t::string: lua::push_string(L, value.get_ref<const std::string&>()); return;
    case Json::value_t::array: {
      lua_createtable(L, static_cast<int>(value.size()), 0);
      mark_array(L);
      int position = 0;
      for (const Json& item : value) {
        push_json(L, item, keep_null);
        lua_rawseti(L, -2, ++position);
      }
      return;
    }
    case Json::value_t::object:
      lua_createtable(L, 0, static_cast<int>(value.size()));
      for (const auto& [key, member] : value.items()) {
        if (member.is_null() && !keep_null) continue;
        lua::push_string(L, key);
        push_json(L, member, keep_null);
        lua_rawset(L, -3);
      }
      return;
    default: lua_pushlightuserdata(L, nullptr);  // json.null
  }
}

Json to_json(lua_State* L, int index, const std::string& what) {
  const int top = lua_gettop(L);
  Json value = Reader(L, what).read(index);
  lua_settop(L, top);
  return value;
}

}  // namespace deployrun::bindings
