// What the files of `native.ssh.raw` have in common: the objects, and the functions that ssh.cpp lists.
#pragma once

#include <lua.hpp>

#include "lua/object.hpp"
#include "ssh/client.hpp"
#include "ssh/quote.hpp"
#include "ssh/session.hpp"

namespace deployrun::bindings {

/// session:forward_local(listen, to): leaves a forward. (ssh_forward.cpp)
int forward_local(lua_State* L);
/// session:forward_remote(listen, to): leaves the operation that gives one. (ssh_forward.cpp)
int forward_remote(lua_State* L);

/// session:shell(command?): leaves the operation that gives { code, signal }. (ssh_shell.cpp)
int shell(lua_State* L);

// With the client as upvalue. (ssh_connect.cpp)
/// connect(options): leaves the operation that gives a session.
int connect(lua_State* L);
/// scan(options): leaves the operation that gives { name, address, server, files, keys }.
int scan(lua_State* L);
/// pin(file, name, blob): leaves the operation that adds a line to a known_hosts file.
int pin(lua_State* L);

/// A list of words, or a string for the shell. Arguments are seen by everybody on the host: no secret among them.
/// (ssh.cpp)
ssh::Command check_command(lua_State* L, int index, const std::string& what);

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<ssh::Session> {
  static constexpr const char* kName = "ssh.session";
  static const luaL_Reg kMethods[];  // ssh.cpp
};

template <>
struct ObjectType<ssh::Client> {
  static constexpr const char* kName = "ssh.client";
  static constexpr luaL_Reg kMethods[] = {{nullptr, nullptr}};
};

}  // namespace deployrun::lua
