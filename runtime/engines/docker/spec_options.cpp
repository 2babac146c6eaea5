#include "docker/spec_options.hpp"

#include "core/text.hpp"

namespace deployrun::docker {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 53;  // what a Lua number holds exactly

}  // namespace

const std::vector<SpecOption>& spec_options() {
  using Spec = ContainerSpec;
  using enum SpecOption::Place;
  static const std::vector<SpecOption> kOptions = {
      {"tmpfs", "--tmpfs", "Tmpfs", &Spec::tmpfs, by_hand},
      {"volumes_from", "--volumes-from", "VolumesFrom", &Spec::volumes_from},
      {"volume_driver", "--volume-driver", "VolumeDriver", &Spec::volume_driver},
      {"storage_options", "--storage-opt", "StorageOpt", &Spec::storage_options},
      {"read_only", "--read-only", "ReadonlyRootfs", &Spec::read_only},
      {"env", "--env", "Env", &Spec::env, by_hand},
      {"labels", "--label", "Labels", &Spec::labels, by_hand},
      {"annotations", "--annotation", "Annotations", &Spec::annotations},
      {"publish_all", "--publish-all", "PublishAllPorts", &Spec::publish_all},
      {"hostname", "--hostname", "Hostname", &Spec::hostname, config},
      {"domainname", "--domainname", "Domainname", &Spec::domainname, config},
      {"dns", "--dns", "Dns", &Spec::dns},
      {"dns_options", "--dns-option", "DnsOptions", &Spec::dns_options},
      {"dns_search", "--dns-search", "DnsSearch", &Spec::dns_search},
      {"extra_hosts", "--add-host", "ExtraHosts", &Spec::extra_hosts, host, "*:*"},
      {"links", "--link", "Links", &Spec::links},
      {"user", "--user", "User", &Spec::user, config},
      {"workdir", "--workdir", "WorkingDir", &Spec::workdir, config},
      {"group_add", "--group-add", "GroupAdd", &Spec::group_add},
      {"cap_add", "--cap-add", "CapAdd", &Spec::cap_add},
      {"cap_drop", "--cap-drop", "CapDrop", &Spec::cap_drop},
      {"security", "--security-opt", "SecurityOpt", &Spec::security, by_hand},
      {"privileged", "--privileged", "Privileged", &Spec::privileged},
      {"init", "--init", "Init", &Spec::init},
      {"tty", "--tty", "Tty", &Spec::tty, config},
      {"interactive", "--interactive", "OpenStdin", &Spec::interactive, config},
      {"stop_signal", "--stop-signal", "StopSignal", &Spec::stop_signal, config},
      {"auto_remove", "--rm", "AutoRemove", &Spec::auto_remove},
      {"log_driver", "--log-driver", "LogConfig", &Spec::log_driver, by_hand},
      {"log_options", "--log-opt", "LogConfig", &Spec::log_options, by_hand},
      {"cgroup_parent", "--cgroup-parent", "CgroupParent", &Spec::cgroup_parent},
      {"cgroupns", "--cgroupns", "CgroupnsMode", &Spec::cgroupns, host, "host|private"},
      {"ipc", "--ipc", "IpcMode", &Spec::ipc, host, "none|private|shareable|host|container:*"},
      {"pid", "--pid", "PidMode", &Spec::pid, host, "host|container:*"},
      {"userns", "--userns", "UsernsMode", &Spec::userns, host, "host"},
      {"uts", "--uts", "UTSMode", &Spec::uts, host, "host"},
      {"runtime", "--runtime", "Runtime", &Spec::runtime},
      {"isolation", "--isolation", "Isolation", &Spec::isolation, host, "default|process|hyperv"},
      {"sysctls", "--sysctl", "Sysctls", &Spec::sysctls},
      {"device_cgroup_rules", "--device-cgroup-rule", "DeviceCgroupRules", &Spec::device_cgroup_rules},
      {"devices", "--device", "Devices", &Spec::devices, by_hand},
      {"memory", "--memory", "Memory", &Spec::memory},
      {"memory_reservation", "--memory-reservation", "MemoryReservation", &Spec::memory_reservation},
      {"kernel_memory", "--kernel-memory", "KernelMemory", &Spec::kernel_memory},
      {"memory_swappiness", "--memory-swappiness", "MemorySwappiness", &Spec::memory_swappiness, host, "", 0, 100},
      {"oom_kill_disable", "--oom-kill-disable", "OomKillDisable", &Spec::oom_kill_disable},
      {"oom_score_adj", "--oom-score-adj", "OomScoreAdj", &Spec::oom_score_adj, host, "", -1000, 1000},
      {"pids_limit", "--pids-limit", "PidsLimit", &Spec::pids_limit, host, "", -1, kMost},
      {"shm_size", "--shm-size", "ShmSize", &Spec::shm_size},
      {"cpu_shares", "--cpu-shares", "CpuShares", &Spec::cpu_shares, host, "", 0, kMost},
      {"cpu_period", "--cpu-period", "CpuPeriod", &Spec::cpu_period, host, "", 0, kMost},
      {"cpu_quota", "--cpu-quota", "CpuQuota", &Spec::cpu_quota, host, "", -1, kMost},
      {"cpu_rt_period", "--cpu-rt-period", "CpuRealtimePeriod", &Spec::cpu_rt_period, host, "", 0, kMost},
      {"cpu_rt_runtime", "--cpu-rt-runtime", "CpuRealtimeRuntime", &Spec::cpu_rt_runtime, host, "", 0, kMost},
      {"cpu_count", "--cpu-count", "CpuCount", &Spec::cpu_count, host, "", 0, kMost},
      {"cpu_percent", "--cpu-percent", "CpuPercent", &Spec::cpu_percent, host, "", 0, 100},
      {"cpuset_cpus", "--cpuset-cpus", "CpusetCpus", &Spec::cpuset_cpus},
      {"cpuset_mems", "--cpuset-mems", "CpusetMems", &Spec::cpuset_mems},
      {"blkio_weight", "--blkio-weight", "BlkioWeight", &Spec::blkio_weight, host, "", 10, 1000},
      {"blkio_weight_device", "--blkio-weight-device", "BlkioWeightDevice", &Spec::blkio_weight_device, by_hand},
      {"device_read_bps", "--device-read-bps", "BlkioDeviceReadBps", &Spec::device_read_bps, by_hand},
      {"device_write_bps", "--device-write-bps", "BlkioDeviceWriteBps", &Spec::device_write_bps, by_hand},
      {"device_read_iops", "--device-read-iops", "BlkioDeviceReadIOps", &Spec::device_read_iops, by_hand},
      {"device_write_iops", "--device-write-iops", "BlkioDeviceWriteIOps", &Spec::device_write_iops, by_hand},
      {"io_max_bandwidth", "--io-maxbandwidth", "IOMaximumBandwidth", &Spec::io_max_bandwidth},
      {"io_max_iops", "--io-maxiops", "IOMaximumIOps", &Spec::io_max_iops, host, "", 0, kMost},
  };
  return kOptions;
}

bool is_allowed(const char* allowed, std::string_view text) {
  for (const std::string_view one : core::split(allowed, '|')) {
    const std::size_t star = one.find('*');
    if (one == text || one.empty()) return true;
    if (star == one.npos) continue;
    // "*:*" or "container:*": something, the fixed part, something.
    const std::string_view fixed = star == 0 ? one.substr(1, one.size() - 2) : one.substr(0, star);
    const std::size_t at = star == 0 ? text.find(fixed, 1) : (text.rfind(fixed, 0) == 0 ? 0 : text.npos);
    if (at != text.npos && at + fixed.size() < text.size()) return true;
  }
  return false;
}

}  // namespace deployrun::docker
