// Which server, as whom, with what: what the recipe says, then what OpenSSH's own configuration says, then defaults.
// ~/.ssh/config is never parsed here: `ssh -G` answers, where OpenSSH is installed. Pure but for `ssh_g_command`'s run.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/loop.hpp"
#include "core/process.hpp"
#include "core/result.hpp"
#include "core/secret.hpp"

namespace deployrun::ssh {

enum class HostKeys {
  strict,      ///< only hosts that known_hosts knows
  accept_new,  ///< a host nobody knows is written down; a known one with another key is refused all the same
};

/// What the recipe may say. Unset stands for "as OpenSSH would".
struct ConnectOptions {
  std::string host;  ///< "10.0.0.5", "deploy@web-1:2222", "[::1]:22", an alias of ~/.ssh/config
  std::optional<unsigned> port;
  std::optional<std::string> user;
  std::vector<std::string> identity_files;
  std::vector<core::Secret> identity_data;  ///< private keys that lie in no file
  std::optional<core::Secret> passphrase;   ///< for encrypted identity files
  std::optional<bool> identities_only;      ///< of the agent's keys only those of the identity files
  std::optional<std::string> agent;         ///< the agent's socket; empty: no agent
  std::vector<std::string> known_hosts;     ///< instead of the user's and the system's files
  std::optional<HostKeys> host_keys;
  std::optional<core::Milliseconds> connect_timeout;
  std::optional<std::string> jump;           ///< "user@bastion:22", several by commas, "none"
  std::optional<std::string> proxy_command;  ///< as in ssh_config(5); "none"
  int hops = 0;                              ///< how many jump hosts already count on this one
  bool ssh_config = true;                    ///< false: `ssh -G` is not asked
  std::string ssh_config_file;               ///< instead of ~/.ssh/config and /etc/ssh/ssh_config
};

struct IdentityFile {
  std::string path;
  bool wanted = false;                    ///< named by somebody, not one of the default places
  std::optional<core::Secret> data = {};  ///< the key itself; `path` only names it then
};

/// Everything decided.
struct Target {
  std::string name;        ///< as the recipe says it, without user and port; what errors carry
  std::string hostname;    ///< what is looked up
  std::string key_name;    ///< what known_hosts calls it (HostKeyAlias)
  bool key_alias = false;  ///< key_name stands alone, without the port
  unsigned port = 22;
  std::string user;
  std::vector<IdentityFile> identity_files;
  std::optional<core::Secret> passphrase;
  bool identities_only = false;
  std::string agent;                     ///< empty: none
  std::vector<std::string> known_hosts;  ///< the first is written to by accept_new
  HostKeys host_keys = HostKeys::strict;
  core::Milliseconds connect_timeout{15000};
  std::optional<ConnectOptions> jump;  ///< the host to go through
  std::string proxy_command;           ///< or the command to speak through, its tokens expanded; empty: neither
};

/// What of this machine decides: the account and SSH_AUTH_SOCK. Given, not looked up, so that tests can.
struct Surroundings {
  std::string home;
  std::string user;
  std::string agent;
};
Surroundings surroundings();

/// Splits "user@host:port" into the options. Kind `usage`.
core::Result<ConnectOptions> parse_destination(ConnectOptions options);

/// `ssh -G …` for these options.
std::vector<std::string> ssh_g_command(const ConnectOptions& options);

/// What it printed; empty where there is no OpenSSH. Kind `ssh.config`: it failed.
core::Result<std::string> ssh_g_output(const ConnectOptions& options, const core::Result<core::ProcessResult>& ran);

/// "keyword value" lines; a keyword that comes again adds a value. Lines and values beyond sane limits are dropped.
std::map<std::string, std::vector<std::string>> parse_ssh_g(std::string_view text);

/// `config` is empty where there is no OpenSSH. Kinds: `usage` (a jump host's name), `ssh.config`: jump hosts lead in a
/// circle, or something is set that cannot be honoured and must not be ignored (RevokedHostKeys).
core::Result<Target> resolve(const ConnectOptions& options,
                             const std::map<std::string, std::vector<std::string>>& config, const Surroundings& here);

}  // namespace deployrun::ssh
