// What a container shall be: one description, from which both the engine's request and the equivalent `docker run` are
// derived. Every option of `docker run` that means something for a container in the background is here; which key,
// which flag and which field of the request belong together is spec_options.hpp's table, where it is that simple.
// Pure: nothing here asks an engine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/result.hpp"
#include "docker/publish.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

using json::Json;

struct Health {
  std::vector<std::string> test;  ///< as the engine takes it: {"CMD", …} or {"CMD-SHELL", line} or {"NONE"}
  core::Milliseconds interval{0}, timeout{0}, start_period{0}, start_interval{0};  ///< 0: the engine's default
  int retries = 0;
};

struct Ulimit {
  std::string name;
  std::int64_t soft = 0, hard = 0;
};

/// One network that a container is in, and how it is known there.
struct NetworkEndpoint {
  std::string network;
  std::vector<std::string> aliases, link_local_ips;
  std::string ip, ip6, mac_address;
  std::map<std::string, std::string> driver_options;
  std::optional<std::int64_t> gateway_priority;
};

/// One of `--mount`; what belongs to another type than its own is empty.
struct Mount {
  std::string type = "volume";  ///< bind, volume, tmpfs, image, npipe, cluster
  std::string source, target;
  bool read_only = false;
  std::string consistency;
  std::string propagation;  ///< bind
  std::string recursive;    ///< bind: enabled, disabled, writable, readonly
  bool no_copy = false;     ///< volume
  std::map<std::string, std::string> labels, driver_options;
  std::string driver, subpath;
  std::uint64_t size = 0;  ///< tmpfs, bytes
  std::string mode;        ///< tmpfs, octal
};

struct Gpus {
  std::int64_t count = 0;  ///< -1: all of them
  std::vector<std::string> devices;
};

struct ContainerSpec {
  std::string image;
  std::string name;      ///< empty: the engine invents one
  std::string platform;  ///< "linux/arm64"
  std::vector<std::string> cmd, entrypoint;
  std::map<std::string, std::string> env, labels, annotations;

  // Networks.
  NetworkEndpoint endpoint;                ///< the first; its network may be "host", "none", "container:NAME" or empty
  std::vector<NetworkEndpoint> endpoints;  ///< further ones
  std::vector<Publish> publish;
  bool publish_all = false;
  std::vector<std::string> expose;  ///< "80/tcp"
  std::string hostname, domainname;
  std::vector<std::string> dns, dns_options, dns_search;
  std::vector<std::string> extra_hosts;  ///< "name:address"
  std::vector<std::string> links;

  // Files and devices.
  std::vector<std::string> volumes;  ///< "name:/path", "/host:/path:ro", "/path"
  std::vector<Mount> mounts;
  std::map<std::string, std::string> tmpfs;  ///< path → options
  std::vector<std::string> volumes_from;
  std::string volume_driver;
  std::map<std::string, std::string> storage_options;
  bool read_only = false;
  std::vector<std::string> devices, device_cgroup_rules;
  std::optional<Gpus> gpus;

  // The process, and who it may be.
  std::string user, workdir;
  std::vector<std::string> group_add, cap_add, cap_drop, security;
  bool privileged = false;
  bool init = false, tty = false, interactive = false;
  std::string stop_signal;
  std::optional<std::chrono::seconds> stop_timeout;
  std::string restart;    ///< no, always, unless-stopped, on-failure
  int restart_tries = 0;  ///< on-failure: 0 without end
  bool auto_remove = false;
  std::optional<Health> health;
  std::string log_driver;
  std::map<std::string, std::string> log_options;
  std::string cgroup_parent, cgroupns, ipc, pid, userns, uts, runtime, isolation;
  std::map<std::string, std::string> sysctls;

  // Its share of the machine. Sizes in bytes, 0: no limit or the engine's default.
  std::uint64_t memory = 0, memory_reservation = 0, kernel_memory = 0, shm_size = 0, io_max_bandwidth = 0;
  std::optional<std::int64_t> memory_swap;  ///< bytes; -1: without limit
  std::optional<std::int64_t> memory_swappiness, oom_score_adj, pids_limit;
  bool oom_kill_disable = false;
  double cpus = 0;  ///< 0: no limit
  std::optional<std::int64_t> cpu_shares, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime, cpu_count, cpu_percent;
  std::string cpuset_cpus, cpuset_mems;
  std::optional<std::int64_t> blkio_weight, io_max_iops;
  // By device.
  std::map<std::string, std::uint64_t> blkio_weight_device, device_read_bps, device_write_bps, device_read_iops,
      device_write_iops;
  std::vector<Ulimit> ulimits;
};

/// Reads a recipe's table. All mistakes at once, in one error of kind `usage` (details `problems`, a line each):
/// unknown keys with the nearest known one, wrong types, values that cannot be read.
core::Result<ContainerSpec> parse_spec(const Json& table);

/// The body of `POST /containers/create`; it joins the first network, the further ones are joined with
/// `connect_body` before the container is started.
Json create_body(const ContainerSpec& spec);
/// The body of `POST /networks/…/connect`.
Json connect_body(const std::string& container, const NetworkEndpoint& endpoint);
/// The oldest Engine API that knows all of it, as the number after "1.".
int least_api(const ContainerSpec& spec);

/// The same container as a command, for plans. Values of env may be secrets: what shows it masks them.
std::vector<std::string> run_argv(const ContainerSpec& spec);

/// "512m" → bytes; b, k, m, g, t, powers of 1024 as the docker command has them. Kind `usage`.
core::Result<std::uint64_t> parse_bytes(const std::string& text);

}  // namespace deployrun::docker
