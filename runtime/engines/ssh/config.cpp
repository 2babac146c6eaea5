#include "ssh/config.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "core/text.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kValueLimit = 8U << 10U;
constexpr std::size_t kValuesLimit = 256;
constexpr int kHops = 8;
constexpr std::array<const char*, 3> kIdentities = {"id_ed25519", "id_ecdsa", "id_rsa"};

using Config = std::map<std::string, std::vector<std::string>>;

std::string first(const Config& config, const char* keyword) {
  const auto found = config.find(keyword);
  return found == config.end() || found->second.empty() ? std::string{} : found->second.front();
}

std::optional<unsigned> parse_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || port > 65535) return {};
  return port;
}

/// `~/x` and the tokens of ssh_config(5) that make sense in a path.
std::string expand(std::string_view path, const Target& target, const Surroundings& here) {
  std::string expanded;
  if (path.substr(0, 2) == "~/") {
    expanded = here.home;
    path.remove_prefix(1);
  }
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%' || i + 1 == path.size()) {
      expanded += path[i];
      continue;
    }
    switch (path[++i]) {
      case '%': expanded += '%'; break;
      case 'd': expanded += here.home; break;
      case 'h': expanded += target.hostname; break;
      case 'n': expanded += target.name; break;
      case 'p': expanded += std::to_string(target.port); break;
      case 'r': expanded += target.user; break;
      case 'u': expanded += here.user; break;
      case 'i': expanded += std::to_string(::getuid()); break;
      default: expanded += '%'; expanded += path[i];
    }
  }
  return expanded;
}

void add_paths(std::vector<std::string>& to, const Config& config, const char* keyword, const Target& target,
               const Surroundings& here) {
  const auto found = config.find(keyword);
  if (found == config.end()) return;
  for (const std::string& value : found->second) {
    for (const std::string_view path : core::split(value, ' ')) {
      if (!path.empty() && path != "none") to.push_back(expand(path, target, here));
    }
  }
}

/// The jump host that `list` ends with, which is reached through the others. It is logged in to with the same keys and
/// checked against the same files; user and port are its own.
core::Result<ConnectOptions> last_hop(const ConnectOptions& options, std::string_view list) {
  ConnectOptions hop = options;
  hop.user.reset();
  hop.port.reset();
  hop.jump.reset();
  hop.proxy_command.reset();
  hop.hops = options.hops + 1;
  if (const std::size_t comma = list.rfind(','); comma != std::string_view::npos) {
    hop.jump = list.substr(0, comma);
    list.remove_prefix(comma + 1);
  }
  list = core::trim(list);
  if (list.substr(0, 6) == "ssh://") list.remove_prefix(6);
  hop.host = list;
  return parse_destination(std::move(hop));
}

core::Result<core::Unit> choose_way(const ConnectOptions& options, const Config& config, Target& target,
                                    const Surroundings& here) {
  const auto set = [](const std::string& value) { return !value.empty() && value != "none"; };
  const bool told = options.jump || options.proxy_command;
  const std::string jump = told ? options.jump.value_or("") : first(config, "proxyjump");
  if (set(jump)) {
    auto hop = last_hop(options, jump);
    if (!hop) return hop.error();
    // As OpenSSH: a jump host that a pattern sends through itself is reached directly.
    if (!told && !hop->jump && (hop->host == target.name || hop->host == target.hostname)) return core::Unit{};
    if (hop->hops > kHops) {
      return core::Error{
          .kind = "ssh.config",
          .message = target.name + ": more than " + std::to_string(kHops) + " jump hosts, at last " + hop->host,
          .hint = "they probably lead in a circle",
          .host = target.name};
    }
    target.jump = std::move(hop).value();
    return core::Unit{};
  }
  const std::string command = told ? options.proxy_command.value_or("") : first(config, "proxycommand");
  if (!set(command)) return core::Unit{};
  // These go into a shell, by way of tokens.
  for (const std::string* word : {&target.hostname, &target.user, &target.name}) {
    if (word->find_first_of("'\"`$;&|<>(){}\\ \t\r\n") != std::string::npos || word->substr(0, 1) == "-") {
      return core::Error{.kind = "ssh.config",
                         .message = target.name + ": \"" + core::clean(*word) + "\" is not put into a ProxyCommand",
                         .host = target.name};
    }
  }
  target.proxy_command = expand(command, target, here);
  return core::Unit{};
}

core::Error unavailable(const Target& target, const std::string& what, const std::string& hint) {
  return {.kind = "ssh.config",
          .message = target.name + ": " + what + " is not available",
          .hint = hint,
          .host = target.name};
}

std::string agent_path(const ConnectOptions& options, const Config& config, const Target& target,
                       const Surroundings& here) {
  if (options.agent) return *options.agent;
  const std::string set = first(config, "identityagent");
  if (set.empty() || set == "SSH_AUTH_SOCK") return here.agent;
  if (set == "none") return {};
  if (set.front() == '$') {
    const char* value = std::getenv(set.c_str() + 1);
    return value == nullptr ? std::string{} : value;
  }
  return expand(set, target, here);
}

}  // namespace

Surroundings surroundings() {
  Surroundings here;
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  // The account's home, as OpenSSH takes it, not $HOME.
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    here.home = entry.pw_dir;
    here.user = entry.pw_name;
  }
  if (const char* agent = std::getenv("SSH_AUTH_SOCK")) here.agent = agent;
  return here;
}

core::Result<ConnectOptions> parse_destination(ConnectOptions options) {
  const std::string whole = options.host;
  std::string_view rest = whole;
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    if (!options.user) options.user = std::string(rest.substr(0, at));
    rest.remove_prefix(at + 1);
  }
  std::string_view port;
  if (!rest.empty() && rest.front() == '[') {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return core::usage("host \"" + whole + "\": ] is missing");
    port = rest.substr(end + 1);
    rest = rest.substr(1, end - 1);
    if (!port.empty() && port.front() != ':') return core::usage("host \"" + whole + "\": only :PORT may follow ]");
  } else if (std::count(rest.begin(), rest.end(), ':') == 1) {  // more of them: a bare IPv6 address
    port = rest.substr(rest.find(':'));
    rest = rest.substr(0, rest.find(':'));
  }
  if (!port.empty()) {
    const auto number = parse_port(port.substr(1));
    if (!number) return core::usage("host \"" + whole + "\": the port must be 1 to 65535");
    if (!options.port) options.port = number;
  }
  // Match exec lines of ~/.ssh/config put these into a shell.
  const auto bad = [](std::string_view text) {
    return text.empty() || text.front() == '-' || text.find('\0') != std::string_view::npos ||
           text.find_first_of(" \t\r\n/\\'\"`$;&|<>(){}*?") != std::string_view::npos;
  };
  if (bad(rest)) return core::usage("\"" + core::clean(whole) + "\" is not a host");
  if (options.user && bad(*options.user))
    return core::usage("\"" + core::clean(*options.user) + "\" is not a user's name");
  options.host = std::string(rest);
  return options;
}

std::vector<std::string> ssh_g_command(const ConnectOptions& options) {
  std::vector<std::string> command = {"ssh", "-G"};
  const auto add = [&command](const char* flag, std::string value) {
    command.emplace_back(flag);
    command.push_back(std::move(value));
  };
  if (!options.ssh_config_file.empty()) add("-F", options.ssh_config_file);
  if (options.user) add("-l", *options.user);
  if (options.port) add("-p", std::to_string(*options.port));
  command.emplace_back("--");
  command.push_back(options.host);
  return command;
}

core::Result<std::string> ssh_g_output(const ConnectOptions& options, const core::Result<core::ProcessResult>& ran) {
  if (!ran) {
    if (ran.error().is("process.spawn")) return std::string{};
    return ran.error();
  }
  if (ran->code == 0) return ran->out;
  return core::Error{.kind = "ssh.config",
                     .message = "ssh -G " + options.host + ": " + core::clean(core::trim(core::tail(ran->err, 1024))),
                     .hint = "ssh_config = false leaves OpenSSH's configuration aside",
                     .host = options.host};
}

Config parse_ssh_g(std::string_view text) {
  Config config;
  for (const std::string_view line : core::lines(text)) {
    const std::size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || line.size() > kValueLimit) continue;
    auto& values = config[core::lower(line.substr(0, space))];
    if (values.size() < kValuesLimit) values.emplace_back(core::trim(line.substr(space + 1)));
  }
  return config;
}

core::Result<Target> resolve(const ConnectOptions& options, const Config& config, const Surroundings& here) {
  Target target;
  target.name = options.host;
  target.hostname = first(config, "hostname");
  if (target.hostname.empty()) target.hostname = options.host;
  target.port = options.port.value_or(parse_port(first(config, "port")).value_or(22));
  target.user = options.user.value_or(first(config, "user"));
  if (target.user.empty()) target.user = here.user;
  target.key_name = first(config, "hostkeyalias");
  target.key_alias = !target.key_name.empty() && target.key_name != "none";
  if (!target.key_alias) target.key_name = target.hostname;

  if (auto way = choose_way(options, config, target, here); !way) return way.error();
  if (const std::string revoked = first(config, "revokedhostkeys"); !revoked.empty() && revoked != "none") {
    return unavailable(target, "revokedhostkeys " + revoked, "list revoked keys in known_hosts, as @revoked lines");
  }

  std::vector<std::string> files;
  add_paths(files, config, "identityfile", target, here);
  std::vector<std::string> defaults;
  for (const char* name : kIdentities) defaults.push_back(here.home + "/.ssh/" + name);
  if (!options.identity_files.empty() || !options.identity_data.empty()) {
    for (const core::Secret& data : options.identity_data)
      target.identity_files.push_back({data.to_string(), true, data});
    for (const std::string& path : options.identity_files)
      target.identity_files.push_back({expand(path, target, here), true});
  } else if (files.empty()) {
    for (std::string& path : defaults) target.identity_files.push_back({std::move(path), false});
  } else {
    for (std::string& path : files) {
      const std::string prefix = here.home + "/.ssh/id_";
      const bool usual = path.compare(0, prefix.size(), prefix) == 0;
      target.identity_files.push_back({std::move(path), !usual});
    }
  }
  target.passphrase = options.passphrase;
  target.identities_only = options.identities_only.value_or(first(config, "identitiesonly") == "yes");
  target.agent = agent_path(options, config, target, here);

  if (!options.known_hosts.empty()) {
    for (const std::string& path : options.known_hosts) target.known_hosts.push_back(expand(path, target, here));
  } else if (config.count("userknownhostsfile") != 0) {
    add_paths(target.known_hosts, config, "userknownhostsfile", target, here);
    add_paths(target.known_hosts, config, "globalknownhostsfile", target, here);
  } else {
    target.known_hosts = {here.home + "/.ssh/known_hosts", here.home + "/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts",
                          "/etc/ssh/ssh_known_hosts2"};
  }
  // "no" and "off" are read as strict: there is no way to switch the check off.
  const bool accept = first(config, "stricthostkeychecking") == "accept-new";
  target.host_keys = options.host_keys.value_or(accept ? HostKeys::accept_new : HostKeys::strict);

  if (options.connect_timeout) {
    target.connect_timeout = *options.connect_timeout;
  } else if (const std::string set = first(config, "connecttimeout"); !set.empty()) {
    unsigned seconds = 0;
    std::from_chars(set.data(), set.data() + set.size(), seconds);
    if (seconds > 0 && seconds <= 86400) target.connect_timeout = std::chrono::seconds(seconds);
  }
  return target;
}

}  // namespace deployrun::ssh
