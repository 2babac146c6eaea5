// `native.yaml.raw`: a document as a value, and where each part of it stands.
#include "bindings/value.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/stack.hpp"
#include "yaml/document.hpp"

namespace deployrun::bindings {

namespace {

std::string step_of(const std::string& key) {
  const bool plain = !key.empty() && key.find_first_of(".[]\"") == std::string::npos;
  return plain ? key : "[\"" + key + "\"]";
}

/// Adds path → "file:line:column" to the table on top, for the value and all in it.
void add_places(lua_State* L, const yaml::Document& document, const yaml::Node& node, const std::string& path) {
  lua::push_string(L, path);
  lua::push_string(L, document.place(node));
  lua_rawset(L, -3);
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    add_places(L, document, node.items[i], path + "[" + std::to_string(i + 1) + "]");
  }
  for (const yaml::Member& member : node.members) {
    const std::string step = step_of(member.key);
    add_places(L, document, member.value, path.empty() || step[0] == '[' ? path + step : path + "." + step);
  }
}

/// decode(text, source) → value, places
int decode(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string text = lua::check_string(L, 1);
    auto document = yaml::parse(text, lua::opt_string(L, 2, ""));
    if (!document) throw core::Failure(std::move(document).error());
    push_json(L, yaml::to_json(document->root));
    lua_newtable(L);
    add_places(L, *document, document->root, "");
    return 2;
  });
}

constexpr luaL_Reg kFunctions[] = {{"decode", decode}, {nullptr, nullptr}};

}  // namespace

int open_yaml(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
