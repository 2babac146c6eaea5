#include "bindings/secret.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "bindings/context.hpp"
#include "core/locked_bytes.hpp"
#include "core/nearest.hpp"
#include "core/pool.hpp"
#include "core/redactor.hpp"
#include "core/secret_file.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/stack.hpp"
#include "report/reporter.hpp"

extern char** environ;

namespace deployrun::bindings {
namespace {
int to_text(lua_State* L);
int name(lua_State* L);
int concat(lua_State* L);
int same(lua_State* L);
int equals(lua_State* L);
}  // namespace
}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<core::Secret> {
  static constexpr const char* kName = "secret";
  static constexpr luaL_Reg kMethods[] = {
      {"name", bindings::name},       {"equals", bindings::equals}, {"__tostring", bindings::to_text},
      {"__concat", bindings::concat}, {"__eq", bindings::same},     {nullptr, nullptr},
  };
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

std::shared_ptr<core::Secret> check_secret(lua_State* L, int index) {
  return lua::check_object<core::Secret>(L, index);
}

int to_text(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, check_secret(L, 1)->to_string());
    return 1;
  });
}

int name(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, check_secret(L, 1)->name());
    return 1;
  });
}

/// Text joined to a secret is a secret: what it contains stays masked, and it can still be handed on.
int concat(lua_State* L) {
  return lua::guard(L, [L] {
    const auto left = to_secret(L, 1);
    const auto right = to_secret(L, 2);
    std::string joined;
    for (const int index : {1, 2}) {
      const auto& part = index == 1 ? left : right;
      if (part) {
        joined += part->reveal();
      } else if (lua_isstring(L, index) != 0) {
        std::size_t size = 0;
        const char* data = lua_tolstring(L, index, &size);
        joined.append(data, size);
      } else {
        throw core::Failure(core::usage(std::string("a secret cannot be joined with a ") + luaL_typename(L, index)));
      }
    }
    const std::string joined_name = left && right ? left->name() + "+" + right->name() : (left ? left : right)->name();
    push_secret(L, core::Secret(joined_name, std::move(joined)));
    return 1;
  });
}

int same(lua_State* L) {
  return lua::guard(L, [L] {
    const auto left = to_secret(L, 1);
    const auto right = to_secret(L, 2);
    lua_pushboolean(L, left && right && left->equals(right->reveal()) ? 1 : 0);
    return 1;
  });
}

int equals(lua_State* L) {
  return lua::guard(L, [L] {
    std::string other = check_secret_or_string(L, 2);
    lua_pushboolean(L, check_secret(L, 1)->equals(other) ? 1 : 0);
    core::wipe(other);
    return 1;
  });
}

/// Leaves the secret and whether it is too short to be masked.
int push_registered(lua_State* L, const core::Secret& secret) {
  const bool is_masked = register_secret(L, secret);
  push_secret(L, secret);
  lua_pushboolean(L, is_masked ? 0 : 1);
  return 2;
}

int value(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string secret_name = lua::check_string(L, 1);
    return push_registered(L, core::Secret(secret_name, check_secret_or_string(L, 2)));
  });
}

core::Error missing_variable(const std::string& wanted) {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    names.emplace_back(text.substr(0, text.find('=')));
  }
  core::Error error{.kind = "secret.missing", .message = "secret " + wanted + ": not in the environment"};
  const auto near = core::nearest(wanted, names);
  error.hint = near ? "did you mean '" + *near + "'?" : "set the variable " + wanted;
  error.details["name"] = wanted;
  error.details["token"] = wanted;
  return error;
}

/// The secret, whether it is too short; or nil and nil with `optional`.
int from_env(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string wanted = lua::check_string(L, 1);
    const bool optional = lua::opt_boolean(L, 2, false);
    const char* found = std::getenv(wanted.c_str());
    if (found == nullptr && !optional) throw core::Failure(missing_variable(wanted));
    if (found == nullptr) return 0;
    return push_registered(L, core::Secret(wanted, std::string(found)));
  });
}

/// Leaves what push_secrets does, and `warning`: string?.
void push_file(lua_State* L, const core::SecretFile& file) {
  push_secrets(L, file.secrets);
  if (!file.warning.empty()) lua::set_field(L, "warning", file.warning);
}

int load(lua_State* L) {
  return lua::guard(L, [L] {
    // `environ` is read by the pool job; the program never changes it after its start.
    std::unique_ptr<core::Operation<core::SecretFile>> job = std::make_unique<core::PoolJob<core::SecretFile>>(
        context(L).loop, [path = lua::check_string(L, 1)] { return core::read_secret_file(path); });
    return lua::push_operation(L, std::move(job), push_file);
  });
}

int nearest(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, core::nearest_hint(lua::check_string(L, 1), lua::check_strings(L, 2)));
    return 1;
  });
}

int is_secret(lua_State* L) {
  lua_pushboolean(L, lua::is_object<core::Secret>(L, 1) ? 1 : 0);
  return 1;
}

int masked(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, context(L).redactor.redact(lua::check_string(L, 1)));
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"value", value},  {"from_env", from_env}, {"load", load},     {"nearest", nearest},
    {"is", is_secret}, {"masked", masked},     {nullptr, nullptr},
};

}  // namespace

bool register_secret(lua_State* L, const core::Secret& secret) {
  Context& shared = context(L);
  const bool masked = shared.redactor.add(secret);
  if (const int refused = core::lock_refused(); refused != 0 && !std::exchange(shared.lock_refusal_told, true)) {
    shared.reporter.emit({{"type", "log"},
                          {"level", "debug"},
                          {"message", std::string("secrets cannot be locked in memory (") + std::strerror(refused) +
                                          "): the system may write them to its swap; `ulimit -l` is the limit"}});
  }
  return masked;
}

void push_secrets(lua_State* L, const std::vector<core::Secret>& secrets) {
  lua_createtable(L, 0, 4);
  lua_newtable(L);
  std::vector<std::string> names;
  std::vector<std::string> too_short;
  for (const core::Secret& secret : secrets) {
    names.push_back(secret.name());
    if (!register_secret(L, secret)) too_short.push_back(secret.name());
    push_secret(L, secret);
    lua_setfield(L, -2, secret.name().c_str());
  }
  lua_setfield(L, -2, "values");
  lua::push_strings(L, names);
  lua_setfield(L, -2, "names");
  lua::push_strings(L, too_short);
  lua_setfield(L, -2, "short");
}

void push_secret(lua_State* L, const core::Secret& secret) {
  lua::push_object<core::Secret>(L, std::make_shared<core::Secret>(secret));
}

std::shared_ptr<core::Secret> to_secret(lua_State* L, int index) {
  if (!lua::is_object<core::Secret>(L, index)) return nullptr;
  return *static_cast<std::shared_ptr<core::Secret>*>(lua_touserdata(L, index));
}

std::string check_secret_or_string(lua_State* L, int index) {
  if (const auto secret = to_secret(L, index)) return std::string(secret->reveal());
  if (lua_type(L, index) != LUA_TSTRING) lua::wrong_argument(L, index, "a string or a secret");
  return lua::check_string(L, index);
}

std::optional<std::string> secret_or_string(lua_State* L, lua::Options& options, const char* key) {
  const bool present = options.push(key);
  std::optional<std::string> text;
  if (const auto secret = to_secret(L, -1)) {
    text = std::string(secret->reveal());
  } else if (lua_type(L, -1) == LUA_TSTRING) {
    text = lua::check_string(L, lua_gettop(L));
  } else if (present) {
    throw core::Failure(
        core::usage(std::string("option `") + key + "` must be a string or a secret, got " + luaL_typename(L, -1)));
  }
  lua_pop(L, 1);
  return text;
}

std::optional<std::map<std::string, std::string>> secret_map(lua_State* L, lua::Options& options, const char* key) {
  if (!options.push(key)) {
    lua_pop(L, 1);
    return std::nullopt;
  }
  if (!lua_istable(L, -1)) {
    throw core::Failure(core::usage(std::string("option `") + key + "` must be a table, got " + luaL_typename(L, -1)));
  }
  std::map<std::string, std::string> map;
  const int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      throw core::Failure(core::usage(std::string("option `") + key + "`: names must be strings"));
    const std::string entry = lua::check_string(L, lua_gettop(L) - 1);
    if (const auto secret = to_secret(L, -1)) {
      map[entry] = std::string(secret->reveal());
    } else if (lua_isstring(L, -1) != 0) {  // numbers as well: PORT = 3000
      lua_pushvalue(L, -1);
      map[entry] = std::string(lua_tostring(L, -1), lua_objlen(L, -1));
      lua_pop(L, 1);
    } else {
      throw core::Failure(core::usage(std::string("option `") + key + "`: " + entry +
                                      " must be a string, a number or a secret, got " + luaL_typename(L, -1)));
    }
  }
  lua_pop(L, 1);
  return map;
}

int open_secret(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
