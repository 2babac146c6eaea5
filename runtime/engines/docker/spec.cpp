#include "docker/spec.hpp"

#include <charconv>
#include <cmath>

#include "core/duration.hpp"
#include "core/text.hpp"
#include "docker/reader.hpp"
#include "docker/reference.hpp"
#include "docker/spec_options.hpp"

namespace deployrun::docker {

namespace {

const char* const kVolumeModes =
    "ro|rw|z|Z|nocopy|consistent|cached|delegated|shared|slave|private|rshared|rslave|rprivate";

void check_volume(Reader& read, const std::string& text) {
  const auto parts = core::split(text, ':');
  const std::string_view target = parts.size() == 1 ? parts[0] : parts[1];
  if (parts.size() > 3 || target.empty() || target.front() != '/' || parts[0].empty()) {
    read.problem("volumes: `" + text + "` is not name:/path, /host:/path or /path, with :ro at the end or not");
  } else if (parts.size() > 1 && parts[0].front() != '/' && parts[0].find('/') != std::string_view::npos) {
    read.problem("volumes: `" + text + "`: a host's folder must be absolute");
  }
  if (parts.size() != 3) return;
  for (const std::string_view mode : core::split(parts[2], ',')) {
    if (mode.empty() || !is_allowed(kVolumeModes, mode))
      read.problem("volumes: `" + std::string(mode) + "` in `" + text + "` is neither ro nor rw");
  }
}

void check_security(Reader& read, const std::string& text) {
  constexpr std::string_view kSeccomp = "seccomp=";
  if (text.rfind(kSeccomp, 0) != 0) return;
  const std::string profile = text.substr(kSeccomp.size());
  // The docker command reads the file; the engine wants what is in it.
  if (profile != "unconfined" && profile != "builtin" && profile.rfind('{', 0) != 0)
    read.problem("security: `" + text + "`: give the profile itself (JSON), not the name of its file");
}

void read_restart(Reader& read, ContainerSpec& spec) {
  const std::string text = read.string("restart");
  const std::size_t colon = text.find(':');
  spec.restart = text.substr(0, colon);
  if (spec.auto_remove && !text.empty() && text != "no")
    read.problem("restart: a container with auto_remove cannot be restarted");
  if (text.empty() || text == "no" || text == "always" || text == "unless-stopped" || text == "on-failure") return;
  const std::string tries = colon == text.npos ? "" : text.substr(colon + 1);
  const char* end = tries.data() + tries.size();
  if (spec.restart != "on-failure" || std::from_chars(tries.data(), end, spec.restart_tries).ptr != end ||
      spec.restart_tries < 1) {
    read.problem("restart: `" + text + "` is not no, always, unless-stopped, on-failure or on-failure:3");
  }
}

std::uint64_t read_bytes(Reader& read, const char* key) {
  const std::string text = read.string(key);
  if (text.empty()) return 0;
  auto bytes = parse_bytes(text);
  if (!bytes) read.problem(std::string(key) + ": " + bytes.error().message);
  return bytes ? *bytes : 0;
}

/// A device's share: bytes a second ("1m") where the key says so, else a plain number.
std::map<std::string, std::uint64_t> read_device_limits(Reader& read, const std::string& key) {
  std::map<std::string, std::uint64_t> limits;
  const bool bytes = key.find("_bps") != key.npos;
  for (const auto& [device, text] : read.map(key.c_str())) {
    auto number = parse_bytes(text);
    if (device.rfind("/dev/", 0) != 0) read.problem(key + ": `" + device + "` is no device: /dev/…");
    if (!number || (!bytes && text.find_first_not_of("0123456789") != text.npos)) {
      read.problem(key + "." + device + ": `" + text + (bytes ? "` is not a size such as 1m" : "` is not a number"));
    } else {
      limits[device] = *number;
    }
  }
  return limits;
}

/// One option of the table, whatever its type.
void read_option(Reader& read, ContainerSpec& spec, const SpecOption& option) {
  const auto check = [&](const std::string& text) {
    if (!is_allowed(option.allowed, text))
      read.problem(std::string(option.key) + ": `" + text + "` is not " + option.allowed);
  };
  std::visit(
      [&](auto member) {
        auto& value = spec.*member;
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          value = read.boolean(option.key);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          value = read.string(option.key);
          if (!value.empty()) check(value);
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          value = read.strings(option.key);
          for (const std::string& one : value) check(one);
        } else if constexpr (std::is_same_v<Value, std::map<std::string, std::string>>) {
          value = read.map(option.key);
        } else if constexpr (std::is_same_v<Value, std::uint64_t>) {
          value = read_bytes(read, option.key);
        } else if constexpr (std::is_same_v<Value, std::optional<std::int64_t>>) {
          value = read.count(option.key, option.least, option.most);
        } else {
          value = read_device_limits(read, option.key);
        }
      },
      option.member);
}

void read_ulimits(Reader& read, ContainerSpec& spec) {
  for (const auto& [name, text] : read.map("ulimits")) {
    Ulimit limit{.name = name};
    const auto parts = core::split(text, ':');
    const auto number = [&](std::string_view part, std::int64_t& into) {
      const auto [end, wrong] = std::from_chars(part.data(), part.data() + part.size(), into);
      return wrong == std::errc{} && end == part.data() + part.size() && into >= -1;
    };
    if (parts.size() > 2 || !number(parts.front(), limit.soft) || !number(parts.back(), limit.hard)) {
      read.problem("ulimits." + name + ": `" + text + "` is not a number or soft:hard");
    }
    spec.ulimits.push_back(std::move(limit));
  }
}

Health read_health(Reader& read) {
  Health health;
  if (read.is_list("test")) {
    health.test = read.strings("test");
    health.test.insert(health.test.begin(), "CMD");
  } else if (const std::string line = read.string("test"); line == "none") {
    health.test = {"NONE"};
  } else if (!line.empty()) {
    health.test = {"CMD-SHELL", line};
  } else {
    read.problem("test is missing: a list (a command), a string (a line for the container's shell) or \"none\"");
  }
  health.interval = read.duration("interval").value_or(health.interval);
  health.timeout = read.duration("timeout").value_or(health.timeout);
  health.start_period = read.duration("start_period").value_or(health.start_period);
  health.start_interval = read.duration("start_interval").value_or(health.start_interval);
  health.retries = static_cast<int>(read.integer("retries", 0, 1000));
  return health;
}

void read_endpoint(Reader& read, NetworkEndpoint& endpoint) {
  endpoint.aliases = read.strings("aliases");
  endpoint.ip = read.string("ip");
  endpoint.ip6 = read.string("ip6");
  endpoint.link_local_ips = read.strings("link_local_ips");
  endpoint.mac_address = read.string("mac_address");
  endpoint.driver_options = read.map("driver_options");
  endpoint.gateway_priority = read.count("gateway_priority", -1'000'000, 1'000'000);
}

bool is_own_network(const std::string& network) {
  return !network.empty() && !is_allowed("host|none|bridge|default|container:*", network);
}

void read_networks(Reader& read, ContainerSpec& spec) {
  NetworkEndpoint& first = spec.endpoint;
  first.network = read.string("network");
  read_endpoint(read, first);
  if (!is_own_network(first.network)) {
    const auto need = [&](bool given, const char* what) {
      if (!given) return;
      read.problem(std::string(what) + " need a network" +
                   (first.network.empty() ? "" : " of your own, not `" + first.network + "`"));
    };
    need(!first.aliases.empty(), "aliases");
    need(!first.ip.empty() || !first.ip6.empty() || !first.link_local_ips.empty(), "fixed addresses");
  }
  for (Reader& part : read.parts("networks")) {
    NetworkEndpoint further{.network = part.string("name")};
    if (further.network.empty()) part.problem("name is missing");
    read_endpoint(part, further);
    read.close(part);
    spec.endpoints.push_back(std::move(further));
  }
  if (!spec.endpoints.empty() && !is_own_network(first.network) && first.network != "bridge")
    read.problem("networks: further ones need a first one in `network`");
}

void read_ports(Reader& read, ContainerSpec& spec) {
  for (const std::string& text : read.strings("publish")) {
    auto publish = parse_publish(text);
    if (publish) {
      spec.publish.insert(spec.publish.end(), publish->begin(), publish->end());
    } else {
      read.problem("publish: " + publish.error().message);
    }
  }
  for (const std::string& text : read.strings("expose")) {
    auto ports = parse_expose(text);
    if (ports) {
      spec.expose.insert(spec.expose.end(), ports->begin(), ports->end());
    } else {
      read.problem("expose: " + ports.error().message);
    }
  }
  if (!spec.publish.empty() && spec.endpoint.network.rfind("container:", 0) == 0)
    read.problem("publish: the ports are those of `" + spec.endpoint.network + "`");
}

Mount read_mount(Reader& read) {
  Mount mount;
  if (const std::string type = read.string("type"); !type.empty()) mount.type = type;
  mount.source = read.string("source");
  mount.target = read.string("target");
  mount.read_only = read.boolean("read_only");
  mount.consistency = read.string("consistency");
  const std::string& type = mount.type;
  if (!is_allowed("bind|volume|tmpfs|image|npipe|cluster", type))
    read.problem("type: `" + type + "` is not bind|volume|tmpfs|image|npipe|cluster");
  if (mount.target.empty()) read.problem("target is missing");
  if (mount.source.empty() && type != "volume" && type != "tmpfs") read.problem("source is missing");
  if (type == "bind") {
    mount.propagation = read.string("propagation");
    mount.recursive = read.string("recursive");
    if (!mount.propagation.empty() && !is_allowed("shared|slave|private|rshared|rslave|rprivate", mount.propagation))
      read.problem("propagation: `" + mount.propagation + "` is not shared|slave|private|rshared|rslave|rprivate");
    if (!mount.recursive.empty() && !is_allowed("enabled|disabled|writable|readonly", mount.recursive))
      read.problem("recursive: `" + mount.recursive + "` is not enabled|disabled|writable|readonly");
    if (!mount.source.empty() && mount.source.front() != '/') read.problem("source: a host's folder must be absolute");
  }
  if (type == "volume") {
    mount.no_copy = read.boolean("no_copy");
    mount.labels = read.map("labels");
    mount.driver = read.string("driver");
    mount.driver_options = read.map("driver_options");
  }
  if (type == "volume" || type == "image") mount.subpath = read.string("subpath");
  if (type == "tmpfs") {
    mount.size = read_bytes(read, "size");
    mount.mode = read.string("mode");
    if (mount.mode.find_first_not_of("01234567") != mount.mode.npos || mount.mode.size() > 5)
      read.problem("mode: `" + mount.mode + "` is not octal, such as 1777");
  }
  return mount;
}

void read_files(Reader& read, ContainerSpec& spec) {
  spec.volumes = read.strings("volumes");
  for (const std::string& text : spec.volumes) check_volume(read, text);
  for (Reader& part : read.parts("mounts")) {
    spec.mounts.push_back(read_mount(part));
    read.close(part);
  }
  for (const std::string& text : spec.devices) {
    const auto parts = core::split(text, ':');
    const bool cdi = text.find('=') != text.npos;  // "vendor.com/class=name"
    if (!cdi && (parts.size() > 3 || parts[0].empty() || parts[0].front() != '/'))
      read.problem("devices: `" + text + "` is not /dev/name[:/dev/name][:rwm]");
  }
}

void read_gpus(Reader& read, ContainerSpec& spec) {
  if (read.is_list("gpus")) {
    spec.gpus = Gpus{.count = 0, .devices = read.strings("gpus")};
    return;
  }
  const std::string text = read.word("gpus");
  if (text.empty()) return;
  Gpus gpus{.count = -1, .devices = {}};
  const char* end = text.data() + text.size();
  if (text != "all" && (std::from_chars(text.data(), end, gpus.count).ptr != end || gpus.count < 1))
    read.problem("gpus: `" + text + "` is not all, a number or a list of devices");
  spec.gpus = gpus;
}

void read_shares(Reader& read, ContainerSpec& spec) {
  spec.cpus = read.number("cpus", 0, 4096);
  if (spec.cpus > 0 && (spec.cpu_period || spec.cpu_quota))
    read.problem("cpus: says the same as cpu_period and cpu_quota; give one of them");
  if (const std::string text = read.word("memory_swap"); text == "-1") {
    spec.memory_swap = -1;
  } else if (!text.empty()) {
    auto bytes = parse_bytes(text);
    if (!bytes) read.problem("memory_swap: `" + text + "` is not a size such as 2g, or -1");
    if (bytes) spec.memory_swap = static_cast<std::int64_t>(*bytes);
  }
  read_ulimits(read, spec);
  read_gpus(read, spec);
}

/// Options of the docker command that are not of a container in the background, or have another name here.
void refuse_foreign(Reader& read) {
  for (const char* key : {"detach", "attach", "detach_keys", "sig_proxy", "quiet", "cidfile"})
    read.refuse(key, "containers run in the background here, there is nothing to attach to");
  read.refuse("pull", "a call of its own: host.docker:pull(image)");
  read.refuse("env_file", "read it in the recipe and give `env`: deploy.secrets.from_file(path)");
  read.refuse("label_file", "read it in the recipe and give `labels`");
  read.refuse("use_api_socket", "the engine's socket is not handed to a container");
  for (const auto& [theirs, ours] : {std::pair{"network_alias", "aliases"},
                                     {"add_host", "extra_hosts"},
                                     {"security_opt", "security"},
                                     {"log_opt", "log_options"},
                                     {"rm", "auto_remove"},
                                     {"mount", "mounts"},
                                     {"storage_opt", "storage_options"},
                                     {"no_healthcheck", "health = { test = \"none\" }"}})
    read.refuse(theirs, std::string("is called `") + ours + "` here");
}

}  // namespace

core::Result<std::uint64_t> parse_bytes(const std::string& text) {
  double number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit = core::lower(std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)));
  if (unit.size() == 2 && unit[1] == 'b' && unit[0] != 'b') unit.pop_back();
  const std::size_t power = std::string_view("bkmgt").find(unit.empty() ? 'b' : unit[0]);
  if (wrong != std::errc{} || !(number > 0) || unit.size() > 1 || power == std::string_view::npos || number > 1e15) {
    return core::usage("`" + text + "` is not a size such as 512m or 2g");
  }
  return static_cast<std::uint64_t>(std::llround(std::ldexp(number, static_cast<int>(10 * power))));
}

core::Result<ContainerSpec> parse_spec(const Json& table) {
  Reader read(table, "container");
  ContainerSpec spec;
  spec.image = read.string("image");
  if (spec.image.empty()) {
    read.problem("image is missing");
  } else if (auto reference = parse_reference(spec.image); !reference && spec.image.rfind("sha256:", 0) != 0) {
    read.problem("image: " + reference.error().message);
  }
  spec.name = read.string("name");
  spec.platform = read.string("platform");
  spec.cmd = read.strings("cmd");
  spec.entrypoint = read.strings("entrypoint");
  for (const SpecOption& option : spec_options()) read_option(read, spec, option);
  for (const auto& [key, value] : spec.env) {
    if (key.empty() || key.find('=') != key.npos) read.problem("env: `" + key + "` is not a variable's name");
  }
  for (const std::string& text : spec.security) check_security(read, text);
  read_networks(read, spec);
  read_ports(read, spec);
  read_files(read, spec);
  read_restart(read, spec);
  read_shares(read, spec);
  if (const auto timeout = read.duration("stop_timeout"))
    spec.stop_timeout = std::chrono::ceil<std::chrono::seconds>(*timeout);
  if (auto part = read.part("health")) {
    spec.health = read_health(*part);
    read.close(*part);
  }
  refuse_foreign(read);
  if (auto error = read.finish()) return std::move(*error);
  return spec;
}

}  // namespace deployrun::docker
