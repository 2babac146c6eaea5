// Secrets in Lua: a type of their own that concatenates and passes through, and prints as [secret:NAME]. Recipes cannot
// read the value; only bindings can, and only to hand it to what needs it.
#pragma once

#include <lua.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/secret.hpp"
#include "lua/options.hpp"

namespace deployrun::bindings {

/// Leaves the secret. It must have been registered with the redactor.
void push_secret(lua_State* L, const core::Secret& secret);
/// Leaves { values = { NAME = secret }, names = { … in order }, short = { … } }, and knows them from here on; `short`
/// are those that are not masked.
void push_secrets(lua_State* L, const std::vector<core::Secret>& secrets);
/// nullptr when the value is no secret. Never throws.
std::shared_ptr<core::Secret> to_secret(lua_State* L, int index);

/// The bytes of a string or of a secret; throws `usage` for another type. The caller passes them on and wipes what it
/// keeps.
std::string check_secret_or_string(lua_State* L, int index);
/// The same for an option.
std::optional<std::string> secret_or_string(lua_State* L, lua::Options& options, const char* key);
/// An option that maps names to strings, numbers or secrets: environments, labels, build arguments.
std::optional<std::map<std::string, std::string>> secret_map(lua_State* L, lua::Options& options, const char* key);

/// Makes it known to the redactor; false where it is too short to be masked. Once, `-v` is told of a system that does
/// not let its memory be locked.
bool register_secret(lua_State* L, const core::Secret& secret);

}  // namespace deployrun::bindings
