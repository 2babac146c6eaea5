// The transfers of `native.ssh.raw`'s sessions: arguments from the stack's second place on, one operation left on it.
// All may throw core::Failure (`usage`): inside `guard`.
#pragma once

#include <lua.hpp>
#include <memory>

#include "ssh/session.hpp"

namespace deployrun::bindings {

int push_upload(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_upload_folder(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_write(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_download(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_download_folder(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_read(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_sftp_stat(lua_State* L, std::shared_ptr<ssh::Session> session);
int push_sftp_remove(lua_State* L, std::shared_ptr<ssh::Session> session);

/// A lua_CFunction: leaves a place for a transfer's progress, whose `next` is awaited.
int transfer_progress(lua_State* L);

}  // namespace deployrun::bindings
