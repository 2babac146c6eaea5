// Files into and out of containers.
#include <algorithm>

#include "bindings/docker_calls.hpp"
#include "bindings/secret.hpp"
#include "docker/archives.hpp"
#include "lua/guard.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

const char* type_name(char type) {
  switch (type) {
    case '0':
    case '7': return "file";
    case '5': return "directory";
    case '2': return "symlink";
    case '1': return "link";
    default: return "other";
  }
}

/// Leaves [{ name, type, target?, mode, uid, gid, modified, bytes? }].
void push_entries(lua_State* L, const std::vector<docker::ArchiveEntry>& entries) {
  lua_createtable(L, static_cast<int>(entries.size()), 0);
  int index = 0;
  for (const docker::ArchiveEntry& entry : entries) {
    const docker::TarMember& member = entry.member;
    lua_createtable(L, 0, 8);
    lua::set_field(L, "name", member.name);
    const std::string type = type_name(member.type);
    lua::set_field(L, "type", type);
    if (!member.target.empty()) lua::set_field(L, "target", member.target);
    lua::set_field(L, "mode", static_cast<double>(member.mode));
    lua::set_field(L, "uid", static_cast<double>(member.uid));
    lua::set_field(L, "gid", static_cast<double>(member.gid));
    lua::set_field(L, "modified", static_cast<double>(member.modified));
    if (type == "file") lua::set_field(L, "bytes", entry.bytes);
    lua_rawseti(L, -2, ++index);
  }
}

int get_archive(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, docker::get_archive(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3)),
                               push_entries);
  });
}

docker::ArchiveEntry check_entry(lua_State* L, int index) {
  lua::Options options(L, index, "docker.put_archive: entry");
  docker::ArchiveEntry entry;
  entry.member.name = options.string("name").value_or("");
  if (options.boolean("directory").value_or(false)) entry.member.type = '5';
  entry.bytes = secret_or_string(L, options, "bytes").value_or("");
  entry.member.mode = static_cast<unsigned>(options.integer("mode").value_or(entry.member.type == '5' ? 0755 : 0644));
  entry.member.uid = static_cast<std::uint64_t>(std::max<std::int64_t>(options.integer("uid").value_or(0), 0));
  entry.member.gid = static_cast<std::uint64_t>(std::max<std::int64_t>(options.integer("gid").value_or(0), 0));
  options.finish();
  return entry;
}

/// name, path, { entries… }
int put_archive(lua_State* L) {
  return lua::guard(L, [L] {
    if (lua_type(L, 4) != LUA_TTABLE) lua::wrong_argument(L, 4, "a list of entries");
    std::vector<docker::ArchiveEntry> entries;
    const auto count = static_cast<int>(lua_objlen(L, 4));
    for (int index = 1; index <= count; ++index) {
      lua_rawgeti(L, 4, index);
      entries.push_back(check_entry(L, lua_gettop(L)));
      lua_pop(L, 1);
    }
    return push_op(L, docker::put_archive(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3), entries));
  });
}

}  // namespace

const luaL_Reg kArchiveCalls[] = {
    {"get_archive", get_archive},
    {"put_archive", put_archive},
    {nullptr, nullptr},
};

}  // namespace deployrun::bindings
