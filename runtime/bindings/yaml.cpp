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

void set_place(lua_State* L, std::size_t line, std::size_t column) {
  lua::set_field(L, "line", static_cast<double>(line));
  lua::set_field(L, "column", static_cast<double>(column));
}

/// Leaves a node as it was written: { kind, line, column } with `text`, `plain` and `tag`, or `items`, or `members`.
void push_node(lua_State* L, const yaml::Node& node) {
  constexpr const char* kKinds[] = {"null", "scalar", "sequence", "mapping"};
  luaL_checkstack(L, 6, "yaml");
  lua_newtable(L);
  lua::set_field(L, "kind", kKinds[static_cast<int>(node.kind)]);
  set_place(L, node.line, node.column);
  if (node.kind == yaml::Kind::scalar) {
    lua::set_field(L, "text", node.scalar);
    lua::set_flag(L, "plain", node.plain);
    if (!node.tag.empty()) lua::set_field(L, "tag", node.tag);
  } else if (node.kind == yaml::Kind::sequence) {
    lua_createtable(L, static_cast<int>(node.items.size()), 0);
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      push_node(L, node.items[i]);
      lua_rawseti(L, -2, static_cast<int>(i) + 1);
    }
    lua_setfield(L, -2, "items");
  } else if (node.kind == yaml::Kind::mapping) {
    lua_createtable(L, static_cast<int>(node.members.size()), 0);
    for (std::size_t i = 0; i < node.members.size(); ++i) {
      const yaml::Member& member = node.members[i];
      lua_newtable(L);
      lua::set_field(L, "key", member.key);
      lua::set_flag(L, "plain", member.plain);
      set_place(L, member.line, member.column);
      push_node(L, member.value);
      lua_setfield(L, -2, "value");
      lua_rawseti(L, -2, static_cast<int>(i) + 1);
    }
    lua_setfield(L, -2, "members");
  }
}

/// tree(text, source, in_order) → node
int tree(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string text = lua::check_string(L, 1);
    const auto merge = lua::opt_boolean(L, 3, false) ? yaml::Merge::in_order : yaml::Merge::own_keys_win;
    auto document = yaml::parse(text, lua::opt_string(L, 2, ""), {}, merge);
    if (!document) throw core::Failure(std::move(document).error());
    push_node(L, document->root);
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {{"decode", decode}, {"tree", tree}, {nullptr, nullptr}};

}  // namespace

int open_yaml(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
