// `native.files.raw`: this machine's files.
#include "core/files.hpp"

#include "bindings/context.hpp"
#include "bindings/secret.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

const char* name_of(core::FileType type) {
  switch (type) {
    case core::FileType::file: return "file";
    case core::FileType::directory: return "directory";
    case core::FileType::symlink: return "symlink";
    case core::FileType::other: break;
  }
  return "other";
}

/// Leaves { type, size, mode = "0644", uid, gid, modified } or nil.
void push_stat(lua_State* L, const std::optional<core::FileStat>& stat) {
  if (!stat) return lua_pushnil(L);
  lua_createtable(L, 0, 6);
  lua::set_field(L, "type", name_of(stat->type));
  lua::set_field(L, "size", static_cast<double>(stat->size));
  std::string mode = "0";
  for (unsigned shift = 9; shift > 0; shift -= 3) mode += static_cast<char>('0' + ((stat->mode >> (shift - 3)) & 7U));
  if ((stat->mode & 07000U) != 0) mode[0] = static_cast<char>('0' + ((stat->mode >> 9U) & 7U));
  lua::set_field(L, "mode", mode);
  lua::set_field(L, "uid", static_cast<double>(stat->uid));
  lua::set_field(L, "gid", static_cast<double>(stat->gid));
  lua::set_field(L, "modified", static_cast<double>(stat->modified));
}

/// Leaves { { name, type }, … }.
void push_entries(lua_State* L, const std::vector<core::DirectoryEntry>& entries) {
  lua_createtable(L, static_cast<int>(entries.size()), 0);
  int position = 0;
  for (const core::DirectoryEntry& entry : entries) {
    lua_createtable(L, 0, 2);
    lua::set_field(L, "name", entry.name);
    lua::set_field(L, "type", name_of(entry.type));
    lua_rawseti(L, -2, ++position);
  }
}

mode_t check_mode(lua_State* L, int index) {
  const std::int64_t mode = lua::check_integer(L, index);
  if (mode < 0 || mode > 07777) lua::wrong_argument(L, index, "permission bits");
  return static_cast<mode_t>(mode);
}

void push_bytes(lua_State* L, const std::string& bytes) { lua::push_string(L, bytes); }
void push_truth(lua_State* L, const bool& truth) { lua_pushboolean(L, truth ? 1 : 0); }

int read(lua_State* L) {
  return lua::guard(L, [L] {
    const auto limit = static_cast<std::size_t>(std::max<std::int64_t>(lua::check_integer(L, 2), 0));
    return lua::push_operation(L, core::read_file(context(L).loop, lua::check_string(L, 1), limit), push_bytes);
  });
}

int write(lua_State* L) {
  return lua::guard(L, [L] {
    core::WriteOptions options;
    options.mode = check_mode(L, 3);
    options.make_parents = lua::opt_boolean(L, 4, false);
    return lua::push_operation(
        L, core::write_file(context(L).loop, lua::check_string(L, 1), check_secret_or_string(L, 2), options),
        lua::push_unit);
  });
}

int stat(lua_State* L) {
  return lua::guard(
      L, [L] { return lua::push_operation(L, core::stat_file(context(L).loop, lua::check_string(L, 1)), push_stat); });
}

int remove(lua_State* L) {
  return lua::guard(L, [L] {
    const bool recursive = lua::opt_boolean(L, 2, false);
    return lua::push_operation(L, core::remove_file(context(L).loop, lua::check_string(L, 1), recursive), push_truth);
  });
}

int mkdir(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, core::make_directories(context(L).loop, lua::check_string(L, 1), check_mode(L, 2)),
                               push_truth);
  });
}

int list(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, core::list_directory(context(L).loop, lua::check_string(L, 1)), push_entries);
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"read", read},   {"write", write}, {"stat", stat},     {"remove", remove},
    {"mkdir", mkdir}, {"list", list},   {nullptr, nullptr},
};

}  // namespace

int open_files(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings
