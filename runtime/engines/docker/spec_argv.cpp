// A container's description as the docker command takes it.
#include "core/quote.hpp"
#include "docker/spec_options.hpp"

namespace deployrun::docker {

namespace {

/// The words of a command line, option by option.
class Words {
 public:
  explicit Words(std::vector<std::string> begin) : words_(std::move(begin)) {}
  void word(const std::string& text) { words_.push_back(text); }
  void add(const char* option, const std::string& value) {
    words_.emplace_back(option);
    words_.push_back(value);
  }
  void add_some(const char* option, const std::string& value) {
    if (!value.empty()) add(option, value);
  }
  void add_all(const char* option, const std::vector<std::string>& values) {
    for (const std::string& value : values) add(option, value);
  }
  std::vector<std::string> take() { return std::move(words_); }

 private:
  std::vector<std::string> words_;
};

/// key=value pairs with commas in between, as `--mount` and `--network` read them (RFC 4180).
class Fields {
 public:
  void add(const std::string& key, const std::string& value) {
    if (value.empty()) return;
    field(key + "=" + value);
  }
  void flag(const char* key, bool set) {
    if (set) field(key);
  }
  void add_pairs(const char* key, const std::map<std::string, std::string>& pairs) {
    for (const auto& [name, value] : pairs) add(key, name + "=" + value);
  }
  const std::string& text() const { return text_; }

 private:
  void field(const std::string& text) {
    if (!text_.empty()) text_ += ',';
    if (text.find_first_of(",\"\n") == text.npos) {
      text_ += text;
      return;
    }
    text_ += '"';
    for (const char c : text) text_ += c == '"' ? std::string("\"\"") : std::string(1, c);
    text_ += '"';
  }
  std::string text_;
};

/// One option of the table.
void add_option(Words& words, const ContainerSpec& spec, const SpecOption& option) {
  std::visit(
      [&](auto member) {
        const auto& value = spec.*member;
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          if (value) words.word(option.flag);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          words.add_some(option.flag, value);
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          words.add_all(option.flag, value);
        } else if constexpr (std::is_same_v<Value, std::map<std::string, std::string>>) {
          // A tmpfs is a path with options behind a colon; everything else is a pair.
          const bool path = option.field == std::string_view("Tmpfs");
          for (const auto& [key, text] : value)
            words.add(option.flag, path ? key + (text.empty() ? "" : ":" + text) : key + "=" + text);
        } else if constexpr (std::is_same_v<Value, std::uint64_t>) {
          if (value != 0) words.add(option.flag, std::to_string(value));
        } else if constexpr (std::is_same_v<Value, std::optional<std::int64_t>>) {
          if (value) words.add(option.flag, std::to_string(*value));
        } else {
          for (const auto& [device, limit] : value) words.add(option.flag, device + ":" + std::to_string(limit));
        }
      },
      option.member);
}

std::string endpoint_text(const NetworkEndpoint& endpoint, bool whole) {
  Fields fields;
  fields.add("name", endpoint.network);
  if (whole) {
    for (const std::string& alias : endpoint.aliases) fields.add("alias", alias);
    fields.add("ip", endpoint.ip);
    fields.add("ip6", endpoint.ip6);
    for (const std::string& ip : endpoint.link_local_ips) fields.add("link-local-ip", ip);
    fields.add("mac-address", endpoint.mac_address);
  }
  fields.add_pairs("driver-opt", endpoint.driver_options);
  if (endpoint.gateway_priority) fields.add("gw-priority", std::to_string(*endpoint.gateway_priority));
  return fields.text();
}

void add_network(Words& words, const ContainerSpec& spec) {
  const NetworkEndpoint& first = spec.endpoint;
  const bool plain = first.driver_options.empty() && !first.gateway_priority;
  words.add_some("--network", plain ? first.network : endpoint_text(first, false));
  words.add_all("--network-alias", first.aliases);
  words.add_some("--ip", first.ip);
  words.add_some("--ip6", first.ip6);
  words.add_all("--link-local-ip", first.link_local_ips);
  words.add_some("--mac-address", first.mac_address);
  for (const NetworkEndpoint& further : spec.endpoints) words.add("--network", endpoint_text(further, true));
  for (const Publish& one : spec.publish) words.add("--publish", publish_text(one));
  words.add_all("--expose", spec.expose);
}

std::string mount_text(const Mount& mount) {
  Fields fields;
  fields.add("type", mount.type);
  fields.add("source", mount.source);
  fields.add("target", mount.target);
  fields.flag("readonly", mount.read_only);
  fields.add("consistency", mount.consistency);
  fields.add("bind-propagation", mount.propagation);
  if (mount.recursive == "disabled") {
    fields.add("bind-nonrecursive", "true");  // what 20.10 knows too
  } else {
    fields.add("bind-recursive", mount.recursive);
  }
  fields.flag("volume-nocopy", mount.no_copy);
  fields.add_pairs("volume-label", mount.labels);
  fields.add("volume-driver", mount.driver);
  fields.add_pairs("volume-opt", mount.driver_options);
  fields.add(mount.type == "image" ? "image-subpath" : "volume-subpath", mount.subpath);
  if (mount.size != 0) fields.add("tmpfs-size", std::to_string(mount.size));
  fields.add("tmpfs-mode", mount.mode);
  return fields.text();
}

void add_files(Words& words, const ContainerSpec& spec) {
  words.add_all("--volume", spec.volumes);
  for (const Mount& mount : spec.mounts) words.add("--mount", mount_text(mount));
}

void add_shares(Words& words, const ContainerSpec& spec) {
  if (spec.cpus > 0) words.add("--cpus", Json(spec.cpus).dump());
  if (spec.memory_swap) words.add("--memory-swap", std::to_string(*spec.memory_swap));
  for (const Ulimit& one : spec.ulimits)
    words.add("--ulimit", one.name + "=" + std::to_string(one.soft) + ":" + std::to_string(one.hard));
  if (!spec.gpus) return;
  if (spec.gpus->devices.empty()) {
    words.add("--gpus", spec.gpus->count < 0 ? "all" : std::to_string(spec.gpus->count));
    return;
  }
  std::string devices;
  for (const std::string& device : spec.gpus->devices) devices += (devices.empty() ? "" : ",") + device;
  Fields fields;
  fields.add("device", devices);
  words.add("--gpus", fields.text());
}

void add_health(Words& words, const Health& health) {
  if (health.test.front() == "NONE") return words.word("--no-healthcheck");
  const auto time = [&](const char* option, core::Milliseconds duration) {
    if (duration.count() > 0) words.add(option, std::to_string(duration.count()) + "ms");
  };
  // The command takes a line for the container's shell only.
  const std::vector<std::string> argv(health.test.begin() + 1, health.test.end());
  words.add("--health-cmd", health.test.front() == "CMD" ? core::shell_join(argv) : argv.front());
  time("--health-interval", health.interval);
  time("--health-timeout", health.timeout);
  time("--health-start-period", health.start_period);
  time("--health-start-interval", health.start_interval);
  if (health.retries > 0) words.add("--health-retries", std::to_string(health.retries));
}

}  // namespace

std::vector<std::string> run_argv(const ContainerSpec& spec) {
  Words words({"docker", "run", "--detach"});
  words.add_some("--name", spec.name);
  words.add_some("--platform", spec.platform);
  add_network(words, spec);
  add_files(words, spec);
  for (const SpecOption& option : spec_options()) add_option(words, spec, option);
  words.add_some("--restart",
                 spec.restart_tries > 0 ? spec.restart + ":" + std::to_string(spec.restart_tries) : spec.restart);
  if (spec.stop_timeout) words.add("--stop-timeout", std::to_string(spec.stop_timeout->count()));
  add_shares(words, spec);
  if (spec.health) add_health(words, *spec.health);
  // The command takes one word here; what follows goes before the container's command.
  if (!spec.entrypoint.empty()) words.add("--entrypoint", spec.entrypoint.front());
  words.word(spec.image);
  for (std::size_t index = 1; index < spec.entrypoint.size(); ++index) words.word(spec.entrypoint[index]);
  for (const std::string& one : spec.cmd) words.word(one);
  return words.take();
}

}  // namespace deployrun::docker
