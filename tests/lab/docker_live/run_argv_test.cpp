// Every option, twice: once by the real `docker` with the command that a plan shows, once by us. The engine then has to
// tell the same of both containers. What this machine's kernel cannot run is compared unstarted.
#include "core/process.hpp"
#include "live.hpp"

using namespace deployrun;
using docker::Json;
using live::Live;

namespace {

core::ProcessResult docker_command(Live& live, std::vector<std::string> argv) {
  core::ProcessOptions options;
  options.argv = std::move(argv);
  options.env = {{"DOCKER_HOST", std::string("unix://") + live::kSocket}, {"DOCKER_CONFIG", "/nonexistent"}};
  core::Process process(live.loop, options);
  auto done = live::run(live.loop, process);
  if (!done) FAIL(core::describe(done.error()));
  return *done;
}

/// Without what is empty: the command spells out what we leave out.
Json tidy(const Json& value) {
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, one] : value.items()) {
      Json inner = tidy(one);
      if (!inner.is_null()) out[key] = std::move(inner);
    }
    return out.empty() ? Json() : out;
  }
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& one : value) out.push_back(tidy(one));
    return out.empty() ? Json() : out;
  }
  if (value == "" || value == 0 || value == false) return {};
  return value;
}

/// What the engine holds of a container's description, without what differs between any two.
Json described(const Json& raw, const std::string& name) {
  Json config = raw["Config"], host = raw["HostConfig"], networks = Json::object();
  // Attached or not is of the run, not of the container; the host name is its ID unless given.
  for (const char* key : {"AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"}) config.erase(key);
  if (raw["Id"].get<std::string>().rfind(config.value("Hostname", "-"), 0) == 0) config.erase("Hostname");
  host.erase("ContainerIDFile");
  host.erase("ConsoleSize");
  // In no order: the command sorts some, the engine walks through others as they come.
  const auto sort = [](Json& list) {
    if (list.is_array()) std::sort(list.begin(), list.end());
  };
  for (Json* list : {&config["Env"], &host["Binds"], &host["CapAdd"], &host["CapDrop"]}) sort(*list);
  if (host["RestartPolicy"]["Name"] == "no") host.erase("RestartPolicy");
  if (host["MemorySwappiness"] == -1) host.erase("MemorySwappiness");  // the command's word for none
  for (const auto& [network, one] : raw["NetworkSettings"]["Networks"].items()) {
    Json here = {{"ipam", one["IPAMConfig"]}, {"links", one["Links"]}, {"options", one["DriverOpts"]}};
    here["aliases"] = Json::array();
    if (one["Aliases"].is_array()) {
      for (const Json& alias : one["Aliases"]) {
        if (raw["Id"].get<std::string>().rfind(alias.get<std::string>(), 0) != 0) here["aliases"].push_back(alias);
      }
    }
    networks[network] = std::move(here);
  }
  Json mounts = Json::array();
  for (Json one : raw["Mounts"]) {
    if (one.value("Name", "").size() == 64) {  // an anonymous volume
      one.erase("Name");
      one.erase("Source");
    }
    mounts.push_back(one);
  }
  std::sort(mounts.begin(), mounts.end(), [](const Json& a, const Json& b) { return a.dump() < b.dump(); });
  Json all = tidy({{"Config", config}, {"HostConfig", host}, {"Networks", networks}, {"Mounts", mounts}});
  // The two have names of their own.
  std::string text = all.dump();
  for (std::size_t at = text.find(name); at != text.npos; at = text.find(name)) text.replace(at, name.size(), "NAME");
  return Json::parse(text);
}

/// Makes it both ways and compares. `runs`: both are started, and stay up.
void compare(Live& live, const std::string& what, Json table, bool runs) {
  INFO(what);
  table["cmd"] = {"busybox", "sleep", "600"};
  const auto make = [&](const char* suffix) {
    table["name"] = live.prefix + suffix;
    return live.spec(table);
  };
  const auto theirs = make("-theirs");
  std::vector<std::string> argv = docker::run_argv(theirs);
  if (!runs) argv.erase(argv.begin() + 2);  // --detach
  if (!runs) argv[1] = "create";
  const auto done = docker_command(live, argv);
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto ours = make("-ours");
  live.get(docker::create_container(live.client, ours));
  if (runs) live.get(docker::start_container(live.client, ours.name));
  const Json made = live.get(docker::inspect_container(live.client, theirs.name));
  const Json same = live.get(docker::inspect_container(live.client, ours.name));
  CHECK(same["state"] == (runs ? "running" : "created"));
  CHECK(made["state"] == same["state"]);
  CHECK(described(same["raw"], ours.name) == described(made["raw"], theirs.name));
  for (const std::string& name : {theirs.name, ours.name})
    live.get(docker::remove_container(live.client, name, true, true));
}

struct Case {
  const char* what;
  const char* table;
  bool runs = true;
};

// NET stands for a network of the test.
const Case kCases[] = {
    {"nothing", R"({})"},
    {"names and words",
     R"({"env": {"A": "x y", "B": "\"q\" 'r' $HOME"}, "labels": {"l": "v=w", "m": ""}, "hostname": "web",
      "domainname": "example.test", "user": "12:34", "workdir": "/srv", "tty": true,
      "interactive": true, "group_add": ["27"]})"},
    {"entrypoint", R"({"entrypoint": ["busybox"]})"},
    {"life", R"({"restart": "on-failure:3", "stop_signal": "SIGQUIT", "stop_timeout": "7s", "init": true})", false},
    {"restart", R"({"restart": "unless-stopped"})"},
    {"remove by itself", R"({"auto_remove": true})"},
    {"health",
     R"({"health": {"test": "busybox true || exit 1", "interval": "3s", "timeout": "500ms", "start_period": "1m",
      "retries": 4}})"},
    {"no health", R"({"health": {"test": "none"}})"},
    {"network of its own",
     R"({"network": "NET", "aliases": ["web", "www"], "ip": "10.97.41.9",
      "expose": ["7000-7002/udp", "53"]})"},
    {"ports", R"({"network": "NET", "publish": ["127.0.0.1::7001", "127.0.0.1::7002-7003/udp"]})", false},
    {"published all", R"({"network": "NET", "expose": ["7010"], "publish_all": true})", false},
    {"no network", R"({"network": "none"})"},
    {"host's network", R"({"network": "host", "uts": "host", "pid": "host", "ipc": "host"})"},
    {"names of hosts",
     R"({"network": "NET", "dns": ["10.97.41.2"], "dns_options": ["ndots:1"], "dns_search": ["example.test"],
      "extra_hosts": ["db:10.0.0.9", "six:::1"]})"},
    {"volumes",
     R"({"volumes": ["NET:/named:ro", "/tmp:/host", "/cache"], "tmpfs": {"/run": "", "/t": "size=1m,mode=1770"},
      "read_only": true, "volume_driver": "local"})"},
    {"mounts", R"({"mounts": [{"source": "NET", "target": "/a", "read_only": true, "no_copy": true},
      {"type": "bind", "source": "/tmp", "target": "/b", "propagation": "rprivate"},
      {"type": "bind", "source": "/usr", "target": "/u", "recursive": "disabled", "read_only": true},
      {"type": "tmpfs", "target": "/c", "size": "2m", "mode": "1777"},
      {"target": "/d", "labels": {"a": "b"}, "driver": "local", "driver_options": {"type": "tmpfs", "device": "tmpfs"}}]})"},
    {"capabilities",
     R"({"cap_add": ["CAP_NET_ADMIN"], "cap_drop": ["CAP_CHOWN", "CAP_MKNOD"], "security": ["no-new-privileges",
      "seccomp=unconfined", "systempaths=unconfined"]})"},
    {"privileged", R"({"privileged": true})", false},
    {"namespaces", R"({"ipc": "shareable", "userns": "host", "cgroupns": "private"})", false},
    {"kernel settings",
     R"({"network": "NET", "sysctls": {"net.ipv4.ip_default_ttl": 60}, "ulimits": {"nofile": "1024:2048",
      "core": 0}})"},
    {"devices", R"({"devices": ["/dev/null:/dev/nothing:rw", "/dev/zero"], "device_cgroup_rules": ["c 1:* r"]})"},
    {"memory", R"({"memory": "64m", "memory_reservation": "32m", "memory_swap": "128m", "shm_size": "8m",
      "oom_score_adj": 100})",
     false},
    {"more memory", R"({"memory": "64m", "memory_swap": -1, "memory_swappiness": 10, "oom_kill_disable": true})",
     false},
    {"processors", R"({"cpu_shares": 512, "cpuset_cpus": "0", "cpuset_mems": "0", "cpus": 0.5})", false},
    {"time slices", R"({"cpu_period": 50000, "cpu_quota": 25000})", false},
    {"processes", R"({"pids_limit": 100})"},
    {"disks", R"({"blkio_weight": 300, "device_read_bps": {"/dev/null": "1m"}, "device_write_bps": {"/dev/null": "2m"},
      "device_read_iops": {"/dev/null": 100}, "device_write_iops": {"/dev/null": 200},
      "blkio_weight_device": {"/dev/null": 400}})",
     false},
    {"logs", R"({"log_driver": "json-file", "log_options": {"max-size": "1m", "max-file": 2}})"},
    {"no logs", R"({"log_driver": "none"})"},
    {"runtime", R"({"runtime": "runc", "cgroup_parent": "/deployrun-live", "storage_options": {}})", false},
    {"processors for graphics", R"({"gpus": "all"})", false},
    {"two of them", R"({"gpus": ["0", "1"]})", false},
    {"one of them", R"({"gpus": 1})", false},
    {"platform", R"({"platform": "linux/amd64"})"},
};

}  // namespace

TEST_CASE("the command that a plan shows makes the same container") {
  Live live;
  docker::Ask network{.what = "network", .method = "POST", .path = "/networks/create"};
  network.body = Json{{"Name", live.prefix}, {"IPAM", {{"Config", {{{"Subnet", "10.97.41.0/24"}}}}}}};
  live.get(docker::ask_unit(live.client, network));
  for (const Case& one : kCases) {
    // An address serves one container only.
    std::string text = one.table;
    for (std::size_t at = text.find("NET\""); at != text.npos; at = text.find("NET\"")) {
      if (at > 0 && text[at - 1] != '"') break;
      text.replace(at, 3, live.prefix);
    }
    for (std::size_t at = text.find("\"NET:"); at != text.npos; at = text.find("\"NET:"))
      text.replace(at + 1, 3, live.prefix);
    const Json table = Json::parse(text);
    compare(live, one.what, table, one.runs && !table.contains("ip"));
  }
}

TEST_CASE("a container joins further networks before it starts") {
  Live live;
  live.get(docker::create_network(live.client, live.prefix));
  live.get(docker::create_network(live.client, live.prefix + "-back"));
  const auto spec = live.spec({{"name", live.prefix + "-app"},
                               {"network", live.prefix},
                               {"networks", {{{"name", live.prefix + "-back"}, {"aliases", {"db"}}}}},
                               {"cmd", {"busybox", "sleep", "600"}}});
  live.get(docker::create_container(live.client, spec));
  live.get(docker::start_container(live.client, spec.name));
  const Json made = live.get(docker::inspect_container(live.client, spec.name));
  CHECK(made["networks"].size() == 2);
  const Json aliases = made["networks"][live.prefix + "-back"]["aliases"];
  CHECK(std::find(aliases.begin(), aliases.end(), "db") != aliases.end());
  live.get(docker::remove_container(live.client, spec.name, true));

  auto missing = spec;
  missing.endpoints.front().network = live.prefix + "-nobody";
  CHECK(live.kind(docker::create_container(live.client, missing)) == "docker.not_found");
  CHECK(live.kind(docker::inspect_container(live.client, spec.name)) == "docker.not_found");
  live.get(docker::remove_network(live.client, live.prefix + "-back"));
}

TEST_CASE("links, and what others' volumes and processes are shared") {
  Live live;
  const auto first =
      live.spec({{"name", live.prefix + "-db"}, {"volumes", {"/data"}}, {"cmd", {"busybox", "sleep", "600"}}});
  live.get(docker::create_container(live.client, first));
  live.get(docker::start_container(live.client, first.name));
  compare(live, "volumes of another", {{"volumes_from", {first.name + ":ro"}}}, true);
  compare(live, "processes of another", {{"pid", "container:" + first.name}, {"network", "container:" + first.name}},
          true);
  compare(live, "a link", {{"links", {first.name + ":db"}}}, false);
}
