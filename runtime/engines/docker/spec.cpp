#include "docker/spec.hpp"

#include <charconv>
#include <cmath>

#include "core/duration.hpp"
#include "core/text.hpp"
#include "docker/reader.hpp"
#include "docker/reference.hpp"

namespace deployrun::docker {

namespace {

bool is_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  return wrong == std::errc{} && end == text.data() + text.size() && value > 0 && value <= 65535;
}

void check_volume(Reader& read, const std::string& text) {
  const auto parts = core::split(text, ':');
  const std::string_view target = parts.size() == 1 ? parts[0] : parts[1];
  if (parts.size() > 3 || target.empty() || target.front() != '/' || parts[0].empty()) {
    read.problem("volumes: `" + text + "` is not name:/path, /host:/path or /path, with :ro at the end or not");
  } else if (parts.size() == 3 && parts[2] != "ro" && parts[2] != "rw") {
    read.problem("volumes: `" + std::string(parts[2]) + "` in `" + text + "` is neither ro nor rw");
  } else if (parts.size() > 1 && parts[0].front() != '/' && parts[0].find('/') != std::string_view::npos) {
    read.problem("volumes: `" + text + "`: a host's folder must be absolute");
  }
}

void read_restart(Reader& read, ContainerSpec& spec) {
  const std::string text = read.string("restart");
  const std::size_t colon = text.find(':');
  spec.restart = text.substr(0, colon);
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
  health.retries = static_cast<int>(read.integer("retries", 0, 1000));
  return health;
}

}  // namespace

core::Result<Publish> parse_publish(const std::string& text) {
  const auto refuse = [&] { return core::usage("`" + text + "` is not [address:][port:]port[/protocol]"); };
  Publish publish;
  std::string_view rest = text;
  if (const std::size_t slash = rest.rfind('/'); slash != rest.npos) {
    publish.protocol = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    if (publish.protocol != "tcp" && publish.protocol != "udp" && publish.protocol != "sctp") return refuse();
  }
  std::size_t colon = rest.rfind(':');
  publish.container_port = rest.substr(colon == rest.npos ? 0 : colon + 1);
  if (!is_port(publish.container_port)) return refuse();
  if (colon == rest.npos) return publish;
  rest = rest.substr(0, colon);
  colon = rest.rfind(':');
  publish.host_port = rest.substr(colon == rest.npos ? 0 : colon + 1);
  const bool has_address = colon != rest.npos;
  if (!(publish.host_port.empty() && has_address) && !is_port(publish.host_port)) return refuse();
  if (!has_address) return publish;
  std::string_view address = rest.substr(0, colon);
  const bool brackets = address.size() > 2 && address.front() == '[' && address.back() == ']';
  if (brackets) address = address.substr(1, address.size() - 2);
  if (address.empty() || (address.find(':') != address.npos && !brackets) ||
      address.find_first_not_of("0123456789abcdefABCDEF.:") != address.npos) {
    return refuse();
  }
  publish.ip = address;
  return publish;
}

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
  spec.cmd = read.strings("cmd");
  spec.entrypoint = read.strings("entrypoint");
  spec.env = read.map("env");
  for (const auto& [key, value] : spec.env) {
    if (key.empty() || key.find('=') != key.npos) read.problem("env: `" + key + "` is not a variable's name");
  }
  spec.labels = read.map("labels");
  spec.network = read.string("network");
  spec.aliases = read.strings("aliases");
  if (!spec.aliases.empty() && spec.network.empty()) read.problem("aliases need a network");
  for (const std::string& text : read.strings("publish")) {
    auto publish = parse_publish(text);
    if (publish) {
      spec.publish.push_back(std::move(*publish));
    } else {
      read.problem("publish: " + publish.error().message);
    }
  }
  spec.volumes = read.strings("volumes");
  for (const std::string& text : spec.volumes) check_volume(read, text);
  read_restart(read, spec);
  spec.user = read.string("user");
  spec.workdir = read.string("workdir");
  spec.hostname = read.string("hostname");
  spec.memory = read_bytes(read, "memory");
  spec.shm_size = read_bytes(read, "shm_size");
  spec.cpus = read.number("cpus", 0, 4096);
  spec.init = read.boolean("init");
  spec.read_only = read.boolean("read_only");
  spec.stop_signal = read.string("stop_signal");
  if (const auto timeout = read.duration("stop_timeout"))
    spec.stop_timeout = std::chrono::ceil<std::chrono::seconds>(*timeout);
  spec.cap_add = read.strings("cap_add");
  spec.cap_drop = read.strings("cap_drop");
  spec.security = read.strings("security");
  spec.log_driver = read.string("log_driver");
  spec.log_options = read.map("log_options");
  if (auto part = read.part("health")) {
    spec.health = read_health(*part);
    read.close(*part);
  }
  spec.extra_hosts = read.strings("extra_hosts");
  for (const std::string& text : spec.extra_hosts) {
    if (text.find(':') == text.npos) read.problem("extra_hosts: `" + text + "` is not name:address");
  }
  spec.tmpfs = read.map("tmpfs");
  read_ulimits(read, spec);
  if (auto error = read.finish()) return std::move(*error);
  return spec;
}

}  // namespace deployrun::docker
