// A container's description in the engine's words.
#include <algorithm>
#include <cmath>

#include "core/text.hpp"
#include "docker/spec_options.hpp"

namespace deployrun::docker {

namespace {

std::int64_t nanoseconds(core::Milliseconds duration) { return std::chrono::nanoseconds(duration).count(); }

Json device_limits(const std::map<std::string, std::uint64_t>& limits, const char* field) {
  Json list = Json::array();
  for (const auto& [device, limit] : limits) list.push_back({{"Path", device}, {field, limit}});
  return list;
}

/// One option of the table that is one field of the request.
void add_option(Json& object, const ContainerSpec& spec, const SpecOption& option) {
  std::visit(
      [&](auto member) {
        const auto& value = spec.*member;
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          if (value) object[option.field] = true;
        } else if constexpr (std::is_same_v<Value, std::uint64_t>) {
          if (value != 0) object[option.field] = value;
        } else if constexpr (std::is_same_v<Value, std::optional<std::int64_t>>) {
          if (value) object[option.field] = *value;
        } else {
          if (!value.empty()) object[option.field] = value;
        }
      },
      option.member);
}

void add_ports(Json& body, Json& host, const ContainerSpec& spec) {
  for (const std::string& port : spec.expose) body["ExposedPorts"][port] = Json::object();
  for (const Publish& one : spec.publish) {
    const std::string port = one.container_port + "/" + one.protocol;
    body["ExposedPorts"][port] = Json::object();
    host["PortBindings"][port].push_back({{"HostIp", one.ip}, {"HostPort", one.host_port}});
  }
}

Json mount_body(const Mount& mount) {
  Json body = {{"Type", mount.type}, {"Target", mount.target}};
  if (!mount.source.empty()) body["Source"] = mount.source;
  if (mount.read_only) body["ReadOnly"] = true;
  if (!mount.consistency.empty()) body["Consistency"] = mount.consistency;
  if (!mount.propagation.empty()) body["BindOptions"]["Propagation"] = mount.propagation;
  if (mount.recursive == "disabled") body["BindOptions"]["NonRecursive"] = true;
  if (mount.recursive == "writable") body["BindOptions"]["ReadOnlyNonRecursive"] = true;
  if (mount.recursive == "readonly") body["BindOptions"]["ReadOnlyForceRecursive"] = true;
  if (mount.no_copy) body["VolumeOptions"]["NoCopy"] = true;
  if (!mount.labels.empty()) body["VolumeOptions"]["Labels"] = mount.labels;
  if (!mount.driver.empty()) body["VolumeOptions"]["DriverConfig"]["Name"] = mount.driver;
  if (!mount.driver_options.empty()) body["VolumeOptions"]["DriverConfig"]["Options"] = mount.driver_options;
  if (!mount.subpath.empty()) body[mount.type == "image" ? "ImageOptions" : "VolumeOptions"]["Subpath"] = mount.subpath;
  if (mount.size != 0) body["TmpfsOptions"]["SizeBytes"] = mount.size;
  if (!mount.mode.empty()) body["TmpfsOptions"]["Mode"] = std::stoul(mount.mode, nullptr, 8);
  return body;
}

void add_files(Json& body, Json& host, const ContainerSpec& spec) {
  for (const std::string& volume : spec.volumes) {
    // An anonymous volume is asked for elsewhere: among the binds the engine would refuse it.
    if (volume.find(':') == volume.npos) {
      body["Volumes"][volume] = Json::object();
    } else {
      host["Binds"].push_back(volume);
    }
  }
  for (const Mount& mount : spec.mounts) host["Mounts"].push_back(mount_body(mount));
  if (!spec.tmpfs.empty()) host["Tmpfs"] = spec.tmpfs;
}

bool is_device_mode(std::string_view text) {
  return !text.empty() && text.find_first_not_of("rwm") == std::string_view::npos;
}

void add_devices(Json& host, const ContainerSpec& spec) {
  Json cdi = Json::array();
  for (const std::string& text : spec.devices) {
    if (text.find('=') != text.npos) {
      cdi.push_back(text);
      continue;
    }
    const auto parts = core::split(text, ':');
    std::string_view target = parts[0], mode = "rwm";
    if (parts.size() > 1 && !(parts.size() == 2 && is_device_mode(parts[1]))) target = parts[1];
    if (parts.size() > 1 && is_device_mode(parts.back())) mode = parts.back();
    host["Devices"].push_back({{"PathOnHost", parts[0]}, {"PathInContainer", target}, {"CgroupPermissions", mode}});
  }
  if (!cdi.empty()) host["DeviceRequests"].push_back({{"Driver", "cdi"}, {"DeviceIDs", cdi}});
  if (!spec.gpus) return;
  Json request = {{"Driver", ""}, {"Count", spec.gpus->count}, {"Capabilities", {{"gpu"}}}};
  if (!spec.gpus->devices.empty()) request["DeviceIDs"] = spec.gpus->devices;
  host["DeviceRequests"].push_back(std::move(request));
}

/// "systempaths=unconfined" is the docker command's word for two other fields.
void add_security(Json& host, const ContainerSpec& spec) {
  for (const std::string& text : spec.security) {
    if (text == "systempaths=unconfined") {
      host["MaskedPaths"] = Json::array();
      host["ReadonlyPaths"] = Json::array();
    } else {
      host["SecurityOpt"].push_back(text);
    }
  }
}

void add_shares(Json& host, const ContainerSpec& spec) {
  if (spec.cpus > 0) host["NanoCpus"] = std::llround(spec.cpus * 1e9);
  if (spec.memory_swap) host["MemorySwap"] = *spec.memory_swap;
  for (const Ulimit& one : spec.ulimits)
    host["Ulimits"].push_back({{"Name", one.name}, {"Soft", one.soft}, {"Hard", one.hard}});
  const auto add = [&](const char* field, const auto& limits, const char* unit) {
    if (!limits.empty()) host[field] = device_limits(limits, unit);
  };
  add("BlkioWeightDevice", spec.blkio_weight_device, "Weight");
  add("BlkioDeviceReadBps", spec.device_read_bps, "Rate");
  add("BlkioDeviceWriteBps", spec.device_write_bps, "Rate");
  add("BlkioDeviceReadIOps", spec.device_read_iops, "Rate");
  add("BlkioDeviceWriteIOps", spec.device_write_iops, "Rate");
}

void add_health(Json& body, const Health& health) {
  Json& check = body["Healthcheck"];
  check["Test"] = health.test;
  const auto add = [&](const char* field, core::Milliseconds duration) {
    if (duration.count() > 0) check[field] = nanoseconds(duration);
  };
  add("Interval", health.interval);
  add("Timeout", health.timeout);
  add("StartPeriod", health.start_period);
  add("StartInterval", health.start_interval);
  if (health.retries > 0) check["Retries"] = health.retries;
}

Json endpoint_body(const NetworkEndpoint& endpoint) {
  Json body = Json::object();
  if (!endpoint.aliases.empty()) body["Aliases"] = endpoint.aliases;
  if (!endpoint.ip.empty()) body["IPAMConfig"]["IPv4Address"] = endpoint.ip;
  if (!endpoint.ip6.empty()) body["IPAMConfig"]["IPv6Address"] = endpoint.ip6;
  if (!endpoint.link_local_ips.empty()) body["IPAMConfig"]["LinkLocalIPs"] = endpoint.link_local_ips;
  if (!endpoint.mac_address.empty()) body["MacAddress"] = endpoint.mac_address;
  if (!endpoint.driver_options.empty()) body["DriverOpts"] = endpoint.driver_options;
  if (endpoint.gateway_priority) body["GwPriority"] = *endpoint.gateway_priority;
  return body;
}

void add_network(Json& body, Json& host, const ContainerSpec& spec) {
  const NetworkEndpoint& first = spec.endpoint;
  if (!first.network.empty()) host["NetworkMode"] = first.network;
  // Until API 1.44 it is the container's, since then the endpoint's; each engine passes over the other.
  if (!first.mac_address.empty()) body["MacAddress"] = first.mac_address;
  Json endpoint = endpoint_body(first);
  if (first.network.empty() || first.network.find(':') != first.network.npos) return;
  if (!spec.links.empty() && !endpoint.empty()) endpoint["Links"] = spec.links;
  if (!endpoint.empty()) body["NetworkingConfig"]["EndpointsConfig"][first.network] = std::move(endpoint);
}

}  // namespace

Json create_body(const ContainerSpec& spec) {
  Json body = {{"Image", spec.image}, {"Labels", spec.labels}};
  Json host = Json::object();
  for (const SpecOption& option : spec_options()) {
    if (option.place == SpecOption::Place::config) add_option(body, spec, option);
    if (option.place == SpecOption::Place::host) add_option(host, spec, option);
  }
  if (!spec.cmd.empty()) body["Cmd"] = spec.cmd;
  if (!spec.entrypoint.empty()) body["Entrypoint"] = spec.entrypoint;
  for (const auto& [key, value] : spec.env) body["Env"].push_back(key + "=" + value);
  if (spec.stop_timeout) body["StopTimeout"] = spec.stop_timeout->count();
  if (spec.health) add_health(body, *spec.health);
  // As `docker run --rm -i`: one that goes with its end ends with the input of whoever is attached.
  if (spec.interactive && spec.auto_remove) body["StdinOnce"] = true;
  add_ports(body, host, spec);
  add_files(body, host, spec);
  add_devices(host, spec);
  add_security(host, spec);
  add_shares(host, spec);
  add_network(body, host, spec);
  if (!spec.restart.empty())
    host["RestartPolicy"] = {{"Name", spec.restart}, {"MaximumRetryCount", spec.restart_tries}};
  if (!spec.log_driver.empty() || !spec.log_options.empty())
    host["LogConfig"] = {{"Type", spec.log_driver}, {"Config", spec.log_options}};
  body["HostConfig"] = std::move(host);
  return body;
}

Json connect_body(const std::string& container, const NetworkEndpoint& endpoint) {
  return {{"Container", container}, {"EndpointConfig", endpoint_body(endpoint)}};
}

int least_api(const ContainerSpec& spec) {
  int least = 0;
  const auto need = [&](bool used, int version) {
    if (used) least = std::max(least, version);
  };
  need(!spec.annotations.empty(), 43);
  need(spec.health && spec.health->start_interval.count() > 0, 44);
  for (const std::string& device : spec.devices) need(device.find('=') != device.npos, 43);
  for (const Mount& mount : spec.mounts) {
    need(mount.recursive == "writable" || mount.recursive == "readonly", 44);
    need(!mount.subpath.empty(), 45);
    need(mount.type == "image", 48);
  }
  need(spec.endpoint.gateway_priority.has_value(), 48);
  for (const NetworkEndpoint& one : spec.endpoints) need(one.gateway_priority.has_value(), 48);
  return least;
}

}  // namespace deployrun::docker
