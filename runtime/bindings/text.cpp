// `native.text.raw`: the small text rules of core/ that the stdlib needs too.
#include "core/text.hpp"

#include <openssl/evp.h>

#include <array>

#include "core/base64.hpp"
#include "core/duration.hpp"
#include "core/nearest.hpp"
#include "core/quote.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

int parse_duration(lua_State* L) {
  return lua::guard(L, [L] {
    auto parsed = core::parse_duration(lua::check_string(L, 1));
    if (!parsed.ok()) throw core::Failure(std::move(parsed).error());
    lua_pushnumber(L, static_cast<lua_Number>(parsed->count()));
    return 1;
  });
}

int format_duration(lua_State* L) {
  return lua::guard(L, [L] {
    const double ms = lua::check_number(L, 1);
    lua::push_string(L, core::format_duration(core::Milliseconds(static_cast<core::Milliseconds::rep>(ms))));
    return 1;
  });
}

int nearest_hint(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, core::nearest_hint(lua::check_string(L, 1), lua::check_strings(L, 2)));
    return 1;
  });
}

int shell_join(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, core::shell_join(lua::check_strings(L, 1)));
    return 1;
  });
}

int clean(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, core::clean(lua::check_string(L, 1)));
    return 1;
  });
}

int sha256(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string text = lua::check_string(L, 1);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
      throw core::Failure({.kind = "internal", .message = "sha256 is not available"});
    }
    constexpr char kHex[] = "0123456789abcdef";
    std::string hex;
    for (unsigned i = 0; i < size; ++i) {
      hex += kHex[digest[i] >> 4];
      hex += kHex[digest[i] & 15];
    }
    lua::push_string(L, hex);
    return 1;
  });
}

int base64_encode(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_string(L, core::base64_encode(lua::check_string(L, 1)));
    return 1;
  });
}

int base64_decode(lua_State* L) {
  return lua::guard(L, [L] {
    const auto bytes = core::base64_decode(lua::check_string(L, 1));
    if (!bytes) return 0;
    lua::push_string(L, *bytes);
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"base64_encode", base64_encode},
    {"base64_decode", base64_decode},
    {"sha256", sha256},
    {"parse_duration", parse_duration},
    {"format_duration", format_duration},
    {"nearest_hint", nearest_hint},
    {"shell_join", shell_join},
    {"clean", clean},
    {nullptr, nullptr},
};

}  // namespace

int open_text(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
