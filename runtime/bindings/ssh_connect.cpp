// How sessions begin: connecting, and making hosts known (the keys they show, and writing them down).
#include "bindings/context.hpp"
#include "bindings/secret.hpp"
#include "bindings/ssh_session.hpp"
#include "core/base64.hpp"
#include "core/pool.hpp"
#include "lua/guard.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "ssh/connect.hpp"
#include "ssh/known_hosts.hpp"
#include "ssh/scan.hpp"
#include "ssh/wire.hpp"

namespace deployrun::bindings {
namespace {

std::optional<ssh::HostKeys> host_keys(lua::Options& options, const std::string& what) {
  const auto mode = options.string("host_keys");
  if (!mode) return {};
  if (*mode == "strict") return ssh::HostKeys::strict;
  if (*mode == "accept-new") return ssh::HostKeys::accept_new;
  throw core::Failure(
      core::usage(what + ": option `host_keys` must be \"strict\" or \"accept-new\", got \"" + *mode + "\""));
}

/// Private keys that lie in no file: secrets, or texts.
std::vector<core::Secret> identity_data(lua::Options& options, lua_State* L, const std::string& what) {
  std::vector<core::Secret> keys;
  if (options.push("identity_data")) {
    const int list = lua_gettop(L);
    if (!lua_istable(L, list)) throw core::Failure(core::usage(what + ": option `identity_data` must be a list"));
    for (int index = 1; lua_rawgeti(L, list, index), !lua_isnil(L, -1); ++index) {
      if (const auto secret = to_secret(L, -1)) {
        keys.push_back(*secret);
      } else {
        keys.emplace_back("key", lua::check_string(L, lua_gettop(L)));
      }
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return keys;
}

ssh::ConnectOptions check_options(lua_State* L, const std::string& what) {
  lua::Options options(L, 1, what);
  ssh::ConnectOptions to;
  to.host = options.require_string("host");
  if (const auto port = options.integer("port")) {
    if (*port < 1 || *port > 65535) throw core::Failure(core::usage(what + ": option `port` must be 1 to 65535"));
    to.port = static_cast<unsigned>(*port);
  }
  to.user = options.string("user");
  to.identity_files = options.strings("identity").value_or(std::vector<std::string>{});
  to.identity_data = identity_data(options, L, what);
  if (options.push("passphrase")) {
    if (const auto secret = to_secret(L, -1)) {
      to.passphrase = *secret;
    } else {
      to.passphrase = core::Secret("passphrase", lua::check_string(L, lua_gettop(L)));
    }
  }
  lua_pop(L, 1);
  to.identities_only = options.boolean("identities_only");
  to.agent = options.string("agent");
  to.known_hosts = options.strings("known_hosts").value_or(std::vector<std::string>{});
  to.host_keys = host_keys(options, what);
  to.connect_timeout = options.milliseconds("connect_timeout");
  to.jump = options.string("jump");
  to.proxy_command = options.string("proxy_command");
  to.ssh_config = options.boolean("ssh_config").value_or(true);
  to.ssh_config_file = options.string("ssh_config_file").value_or("");
  options.finish();
  return to;
}

void push_session(lua_State* L, const std::shared_ptr<ssh::Session>& session) { lua::push_object(L, session); }

const char* verdict_name(ssh::HostVerdict verdict) {
  switch (verdict) {
    case ssh::HostVerdict::match: return "known";
    case ssh::HostVerdict::changed: return "changed";
    case ssh::HostVerdict::changed_type: return "other_type";
    case ssh::HostVerdict::revoked: return "revoked";
    case ssh::HostVerdict::unknown: break;
  }
  return "unknown";
}

/// Leaves { name, address, server, files, keys = { { type, fingerprint, blob = base64, verdict, place } } }.
void push_scanned(lua_State* L, const ssh::Scanned& scanned) {
  lua_createtable(L, 0, 5);
  lua::set_field(L, "name", scanned.name);
  lua::set_field(L, "address", scanned.address);
  lua::set_field(L, "server", scanned.server);
  lua::push_strings(L, scanned.files);
  lua_setfield(L, -2, "files");
  lua_createtable(L, static_cast<int>(scanned.keys.size()), 0);
  int index = 0;
  for (const ssh::ScannedKey& key : scanned.keys) {
    lua_createtable(L, 0, 5);
    lua::set_field(L, "type", key.type);
    lua::set_field(L, "fingerprint", key.fingerprint);
    lua::set_field(L, "blob", core::base64_encode(key.blob));
    lua::set_field(L, "verdict", verdict_name(key.verdict));
    lua::set_field(L, "place", key.place);
    lua_rawseti(L, -2, ++index);
  }
  lua_setfield(L, -2, "keys");
}

}  // namespace

int connect(lua_State* L) {
  return lua::guard(L, [L] {
    const auto client = lua::check_object<ssh::Client>(L, lua_upvalueindex(1));
    std::unique_ptr<core::Operation<std::shared_ptr<ssh::Session>>> operation =
        std::make_unique<ssh::Connect>(context(L).loop, client, check_options(L, "ssh.connect"));
    return lua::push_operation(L, std::move(operation), push_session);
  });
}

int scan(lua_State* L) {
  return lua::guard(L, [L] {
    const auto client = lua::check_object<ssh::Client>(L, lua_upvalueindex(1));
    std::unique_ptr<core::Operation<ssh::Scanned>> operation =
        std::make_unique<ssh::Scan>(context(L).loop, client, check_options(L, "ssh.scan"));
    return lua::push_operation(L, std::move(operation), push_scanned);
  });
}

int pin(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string file = lua::check_string(L, 1);
    const std::string name = lua::check_string(L, 2);
    const auto blob = core::base64_decode(lua::check_string(L, 3));
    if (!blob || ssh::blob_type(*blob).empty()) throw core::Failure(core::usage("ssh.pin: that is no public key"));
    if (name.empty() || name.find_first_of(" \t\r\n,*?!|") != std::string::npos) {
      throw core::Failure(core::usage("ssh.pin: that is no host's name"));
    }
    // The name has its port already.
    std::unique_ptr<core::Operation<core::Unit>> operation = std::make_unique<core::PoolJob<core::Unit>>(
        context(L).loop, [file, name, blob = *blob] { return ssh::append_known_host(file, name, 22, blob); });
    return lua::push_operation(L, std::move(operation), lua::push_unit);
  });
}

}  // namespace deployrun::bindings
