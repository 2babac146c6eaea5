// What a container shall be: one description, from which both the engine's request and the equivalent `docker run` are
// derived. Pure: nothing here asks an engine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/result.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

using json::Json;

struct Publish {
  std::string ip;         ///< empty: all addresses
  std::string host_port;  ///< empty: the engine chooses
  std::string container_port;
  std::string protocol = "tcp";
};

struct Health {
  std::vector<std::string> test;  ///< as the engine takes it: {"CMD", …} or {"CMD-SHELL", line} or {"NONE"}
  core::Milliseconds interval{0}, timeout{0}, start_period{0};  ///< 0: the engine's default
  int retries = 0;
};

struct Ulimit {
  std::string name;
  std::int64_t soft = 0, hard = 0;
};

struct ContainerSpec {
  std::string image;
  std::string name;  ///< empty: the engine invents one
  std::vector<std::string> cmd, entrypoint;
  std::map<std::string, std::string> env, labels;
  std::string network;
  std::vector<std::string> aliases;
  std::vector<Publish> publish;
  std::vector<std::string> volumes;  ///< "name:/path", "/host:/path:ro", "/path"
  std::string restart;               ///< no, always, unless-stopped, on-failure
  int restart_tries = 0;             ///< on-failure: 0 without end
  std::string user, workdir, hostname;
  std::uint64_t memory = 0;  ///< bytes; 0: no limit
  double cpus = 0;           ///< 0: no limit
  bool init = false, read_only = false;
  std::string stop_signal;
  std::optional<std::chrono::seconds> stop_timeout;
  std::vector<std::string> cap_add, cap_drop, security;
  std::string log_driver;
  std::map<std::string, std::string> log_options;
  std::optional<Health> health;
  std::vector<std::string> extra_hosts;      ///< "name:address"
  std::map<std::string, std::string> tmpfs;  ///< path → options
  std::vector<Ulimit> ulimits;
  std::uint64_t shm_size = 0;  ///< bytes; 0: the engine's default
};

/// Reads a recipe's table. All mistakes at once, in one error of kind `usage` (details `problems`, a line each):
/// unknown keys with the nearest known one, wrong types, values that cannot be read.
core::Result<ContainerSpec> parse_spec(const Json& table);

/// The body of `POST /containers/create`.
Json create_body(const ContainerSpec& spec);

/// The same container as a command, for plans. Values of env may be secrets: what shows it masks them.
std::vector<std::string> run_argv(const ContainerSpec& spec);

/// "[address:][port:]port[/protocol]". Kind `usage`.
core::Result<Publish> parse_publish(const std::string& text);
/// "512m" → bytes; b, k, m, g, powers of 1024 as the docker command has them. Kind `usage`.
core::Result<std::uint64_t> parse_bytes(const std::string& text);

}  // namespace deployrun::docker
