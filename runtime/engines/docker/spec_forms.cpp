// A container's description in the engine's words and in the docker command's.
#include <cmath>

#include "core/quote.hpp"
#include "docker/spec.hpp"

namespace deployrun::docker {

namespace {

std::int64_t nanoseconds(core::Milliseconds duration) { return std::chrono::nanoseconds(duration).count(); }

Json port_bindings(const ContainerSpec& spec) {
  Json bindings = Json::object();
  for (const Publish& one : spec.publish) {
    bindings[one.container_port + "/" + one.protocol].push_back({{"HostIp", one.ip}, {"HostPort", one.host_port}});
  }
  return bindings;
}

Json host_config(const ContainerSpec& spec) {
  Json host = Json::object();
  if (!spec.volumes.empty()) host["Binds"] = spec.volumes;
  if (!spec.publish.empty()) host["PortBindings"] = port_bindings(spec);
  if (!spec.restart.empty())
    host["RestartPolicy"] = {{"Name", spec.restart}, {"MaximumRetryCount", spec.restart_tries}};
  if (!spec.network.empty()) host["NetworkMode"] = spec.network;
  if (spec.memory != 0) host["Memory"] = spec.memory;
  if (spec.cpus > 0) host["NanoCpus"] = std::llround(spec.cpus * 1e9);
  if (spec.shm_size != 0) host["ShmSize"] = spec.shm_size;
  if (spec.init) host["Init"] = true;
  if (spec.read_only) host["ReadonlyRootfs"] = true;
  if (!spec.cap_add.empty()) host["CapAdd"] = spec.cap_add;
  if (!spec.cap_drop.empty()) host["CapDrop"] = spec.cap_drop;
  if (!spec.security.empty()) host["SecurityOpt"] = spec.security;
  if (!spec.log_driver.empty() || !spec.log_options.empty()) {
    host["LogConfig"] = {{"Type", spec.log_driver}, {"Config", spec.log_options}};
  }
  if (!spec.extra_hosts.empty()) host["ExtraHosts"] = spec.extra_hosts;
  if (!spec.tmpfs.empty()) host["Tmpfs"] = spec.tmpfs;
  for (const Ulimit& one : spec.ulimits)
    host["Ulimits"].push_back({{"Name", one.name}, {"Soft", one.soft}, {"Hard", one.hard}});
  return host;
}

}  // namespace

Json create_body(const ContainerSpec& spec) {
  Json body = {{"Image", spec.image}, {"Labels", spec.labels}};
  if (!spec.cmd.empty()) body["Cmd"] = spec.cmd;
  if (!spec.entrypoint.empty()) body["Entrypoint"] = spec.entrypoint;
  Json env = Json::array();
  for (const auto& [key, value] : spec.env) env.push_back(key + "=" + value);
  if (!env.empty()) body["Env"] = std::move(env);
  if (!spec.user.empty()) body["User"] = spec.user;
  if (!spec.workdir.empty()) body["WorkingDir"] = spec.workdir;
  if (!spec.hostname.empty()) body["Hostname"] = spec.hostname;
  if (!spec.stop_signal.empty()) body["StopSignal"] = spec.stop_signal;
  if (spec.stop_timeout) body["StopTimeout"] = spec.stop_timeout->count();
  for (const Publish& one : spec.publish)
    body["ExposedPorts"][one.container_port + "/" + one.protocol] = Json::object();
  for (const std::string& volume : spec.volumes) {
    if (volume.find(':') == volume.npos) body["Volumes"][volume] = Json::object();
  }
  if (spec.health) {
    Json& check = body["Healthcheck"];
    check["Test"] = spec.health->test;
    if (spec.health->interval.count() > 0) check["Interval"] = nanoseconds(spec.health->interval);
    if (spec.health->timeout.count() > 0) check["Timeout"] = nanoseconds(spec.health->timeout);
    if (spec.health->start_period.count() > 0) check["StartPeriod"] = nanoseconds(spec.health->start_period);
    if (spec.health->retries > 0) check["Retries"] = spec.health->retries;
  }
  body["HostConfig"] = host_config(spec);
  // An anonymous volume is asked for above; among the binds the engine would refuse it.
  if (auto binds = body["HostConfig"].find("Binds"); binds != body["HostConfig"].end()) {
    Json named = Json::array();
    for (const Json& one : *binds) {
      if (one.get_ref<const std::string&>().find(':') != std::string::npos) named.push_back(one);
    }
    *binds = std::move(named);
  }
  if (!spec.aliases.empty()) body["NetworkingConfig"]["EndpointsConfig"][spec.network]["Aliases"] = spec.aliases;
  return body;
}

std::vector<std::string> run_argv(const ContainerSpec& spec) {
  std::vector<std::string> argv = {"docker", "run", "--detach"};
  const auto add = [&](const char* option, const std::string& value) {
    argv.emplace_back(option);
    argv.push_back(value);
  };
  const auto add_some = [&](const char* option, const std::string& value) {
    if (!value.empty()) add(option, value);
  };
  const auto add_all = [&](const char* option, const std::vector<std::string>& values) {
    for (const std::string& value : values) add(option, value);
  };
  const auto add_pairs = [&](const char* option, const std::map<std::string, std::string>& pairs) {
    for (const auto& [key, value] : pairs) add(option, key + "=" + value);
  };
  const auto time = [](core::Milliseconds duration) { return std::to_string(duration.count()) + "ms"; };

  add_some("--name", spec.name);
  add_some("--network", spec.network);
  add_all("--network-alias", spec.aliases);
  for (const Publish& one : spec.publish) {
    std::string text;
    if (!one.ip.empty()) text += (one.ip.find(':') != one.ip.npos ? "[" + one.ip + "]" : one.ip) + ":";
    if (!one.ip.empty() || !one.host_port.empty()) text += one.host_port + ":";
    text += one.container_port;
    if (one.protocol != "tcp") text += "/" + one.protocol;
    add("--publish", text);
  }
  add_all("--volume", spec.volumes);
  for (const auto& [path, options] : spec.tmpfs) add("--tmpfs", options.empty() ? path : path + ":" + options);
  add_pairs("--env", spec.env);
  add_pairs("--label", spec.labels);
  add_some("--restart",
           spec.restart_tries > 0 ? spec.restart + ":" + std::to_string(spec.restart_tries) : spec.restart);
  add_some("--user", spec.user);
  add_some("--workdir", spec.workdir);
  add_some("--hostname", spec.hostname);
  if (spec.memory != 0) add("--memory", std::to_string(spec.memory));
  if (spec.shm_size != 0) add("--shm-size", std::to_string(spec.shm_size));
  if (spec.cpus > 0) add("--cpus", Json(spec.cpus).dump());
  if (spec.init) argv.emplace_back("--init");
  if (spec.read_only) argv.emplace_back("--read-only");
  add_some("--stop-signal", spec.stop_signal);
  if (spec.stop_timeout) add("--stop-timeout", std::to_string(spec.stop_timeout->count()));
  add_all("--cap-add", spec.cap_add);
  add_all("--cap-drop", spec.cap_drop);
  add_all("--security-opt", spec.security);
  add_some("--log-driver", spec.log_driver);
  add_pairs("--log-opt", spec.log_options);
  add_all("--add-host", spec.extra_hosts);
  for (const Ulimit& one : spec.ulimits)
    add("--ulimit", one.name + "=" + std::to_string(one.soft) + ":" + std::to_string(one.hard));
  if (spec.health && spec.health->test.front() == "NONE") {
    argv.emplace_back("--no-healthcheck");
  } else if (spec.health) {
    // The command takes a line for the container's shell only.
    const std::vector<std::string> words(spec.health->test.begin() + 1, spec.health->test.end());
    add("--health-cmd", spec.health->test.front() == "CMD" ? core::shell_join(words) : words.front());
    if (spec.health->interval.count() > 0) add("--health-interval", time(spec.health->interval));
    if (spec.health->timeout.count() > 0) add("--health-timeout", time(spec.health->timeout));
    if (spec.health->start_period.count() > 0) add("--health-start-period", time(spec.health->start_period));
    if (spec.health->retries > 0) add("--health-retries", std::to_string(spec.health->retries));
  }
  // The command takes one word here; what follows goes before the container's command.
  if (!spec.entrypoint.empty()) add("--entrypoint", spec.entrypoint.front());
  argv.push_back(spec.image);
  if (!spec.entrypoint.empty()) argv.insert(argv.end(), spec.entrypoint.begin() + 1, spec.entrypoint.end());
  argv.insert(argv.end(), spec.cmd.begin(), spec.cmd.end());
  return argv;
}

}  // namespace deployrun::docker
