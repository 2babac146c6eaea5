#include "docker/spec.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun;
using docker::Json;

namespace {

docker::ContainerSpec parse(const Json& table) {
  auto spec = docker::parse_spec(table);
  if (!spec) FAIL(std::get<std::string>(spec.error().details.at("problems")));
  return *spec;
}

std::string problems(Json table) {
  table.emplace("image", "127.0.0.1:5000/app:v1");
  const auto spec = docker::parse_spec(table);
  if (spec) return "none";
  CHECK(spec.error().kind == "usage");
  return std::get<std::string>(spec.error().details.at("problems"));
}

const Json kWhole = Json::parse(R"({
  "image": "127.0.0.1:5000/app:v2", "name": "app-web-v2", "cmd": ["serve", "--port", "80"], "entrypoint": ["/bin/tini", "--"],
  "env": {"B": 2, "A": "x y"}, "labels": {"service": "app", "n": 1.0, "on": true},
  "network": "kamal", "aliases": ["web"], "publish": ["8080:80", "127.0.0.1:2019:2019/udp", "443", "[::1]::53/tcp"],
  "volumes": ["data:/data", "/srv/app:/app:ro", "/cache"], "restart": "on-failure:3", "user": "1000:1000", "workdir": "/app",
  "hostname": "web-1", "memory": "512m", "cpus": 1.5, "shm_size": "64mb", "init": true, "read_only": true,
  "stop_signal": "SIGQUIT", "stop_timeout": "90s", "cap_add": ["NET_BIND_SERVICE"], "cap_drop": ["ALL"],
  "security": ["no-new-privileges"], "log_driver": "json-file", "log_options": {"max-size": "10m", "max-file": 3},
  "health": {"test": ["curl", "-f", "http://localhost/up now"], "interval": "10s", "timeout": "500ms", "start_period": "1m", "retries": 4},
  "extra_hosts": ["db:10.0.0.9"], "tmpfs": {"/tmp": "size=64m", "/run": ""}, "ulimits": {"nofile": "1024:2048", "core": 0}
})");

}  // namespace

TEST_CASE("a whole description becomes the engine's request") {
  const Json body = docker::create_body(parse(kWhole));
  CHECK(body == Json::parse(R"({
    "Image": "127.0.0.1:5000/app:v2", "Cmd": ["serve", "--port", "80"], "Entrypoint": ["/bin/tini", "--"],
    "Env": ["A=x y", "B=2"], "Labels": {"service": "app", "n": "1", "on": "true"}, "User": "1000:1000", "WorkingDir": "/app",
    "Hostname": "web-1", "StopSignal": "SIGQUIT", "StopTimeout": 90,
    "ExposedPorts": {"80/tcp": {}, "2019/udp": {}, "443/tcp": {}, "53/tcp": {}}, "Volumes": {"/cache": {}},
    "Healthcheck": {"Test": ["CMD", "curl", "-f", "http://localhost/up now"], "Interval": 10000000000, "Timeout": 500000000,
                    "StartPeriod": 60000000000, "Retries": 4},
    "HostConfig": {
      "Binds": ["data:/data", "/srv/app:/app:ro"],
      "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "2019/udp": [{"HostIp": "127.0.0.1", "HostPort": "2019"}],
                       "443/tcp": [{"HostIp": "", "HostPort": ""}], "53/tcp": [{"HostIp": "::1", "HostPort": ""}]},
      "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "NetworkMode": "kamal", "Memory": 536870912,
      "NanoCpus": 1500000000, "ShmSize": 67108864, "Init": true, "ReadonlyRootfs": true, "CapAdd": ["NET_BIND_SERVICE"],
      "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
      "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}, "ExtraHosts": ["db:10.0.0.9"],
      "Tmpfs": {"/tmp": "size=64m", "/run": ""},
      "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 1024, "Hard": 2048}]},
    "NetworkingConfig": {"EndpointsConfig": {"kamal": {"Aliases": ["web"]}}}
  })"));
}

TEST_CASE("and the equivalent command") {
  using Words = std::vector<std::string>;
  const Words expected = {"docker",
                          "run",
                          "--detach",
                          "--name",
                          "app-web-v2",
                          "--network",
                          "kamal",
                          "--network-alias",
                          "web",
                          "--publish",
                          "8080:80",
                          "--publish",
                          "127.0.0.1:2019:2019/udp",
                          "--publish",
                          "443",
                          "--publish",
                          "[::1]::53",
                          "--volume",
                          "data:/data",
                          "--volume",
                          "/srv/app:/app:ro",
                          "--volume",
                          "/cache",
                          "--tmpfs",
                          "/run",
                          "--tmpfs",
                          "/tmp:size=64m",
                          "--read-only",
                          "--env",
                          "A=x y",
                          "--env",
                          "B=2",
                          "--label",
                          "n=1",
                          "--label",
                          "on=true",
                          "--label",
                          "service=app",
                          "--hostname",
                          "web-1",
                          "--add-host",
                          "db:10.0.0.9",
                          "--user",
                          "1000:1000",
                          "--workdir",
                          "/app",
                          "--cap-add",
                          "NET_BIND_SERVICE",
                          "--cap-drop",
                          "ALL",
                          "--security-opt",
                          "no-new-privileges",
                          "--init",
                          "--stop-signal",
                          "SIGQUIT",
                          "--log-driver",
                          "json-file",
                          "--log-opt",
                          "max-file=3",
                          "--log-opt",
                          "max-size=10m",
                          "--memory",
                          "536870912",
                          "--shm-size",
                          "67108864",
                          "--restart",
                          "on-failure:3",
                          "--stop-timeout",
                          "90",
                          "--cpus",
                          "1.5",
                          "--ulimit",
                          "core=0:0",
                          "--ulimit",
                          "nofile=1024:2048",
                          "--health-cmd",
                          "curl -f 'http://localhost/up now'",
                          "--health-interval",
                          "10000ms",
                          "--health-timeout",
                          "500ms",
                          "--health-start-period",
                          "60000ms",
                          "--health-retries",
                          "4",
                          "--entrypoint",
                          "/bin/tini",
                          "127.0.0.1:5000/app:v2",
                          "--",
                          "serve",
                          "--port",
                          "80"};
  CHECK(docker::run_argv(parse(kWhole)) == expected);
}

TEST_CASE("an image alone is enough") {
  const auto spec = parse({{"image", "sha256:0123456789ab"}});
  CHECK(docker::create_body(spec) ==
        Json{{"Image", "sha256:0123456789ab"}, {"Labels", Json::object()}, {"HostConfig", Json::object()}});
  CHECK(docker::run_argv(spec) == std::vector<std::string>{"docker", "run", "--detach", "sha256:0123456789ab"});
}

TEST_CASE("Lua's empty table is an empty list and an empty map") {
  CHECK(problems({{"cmd", Json::object()}, {"env", Json::array()}, {"publish", Json::object()}}) == "none");
}

TEST_CASE("a health check is a command, a line or none") {
  CHECK(parse({{"image", "a/b:c"}, {"health", {{"test", "curl -f x || exit 1"}}}}).health->test ==
        std::vector<std::string>{"CMD-SHELL", "curl -f x || exit 1"});
  CHECK(parse({{"image", "a/b:c"}, {"health", {{"test", "none"}}}}).health->test == std::vector<std::string>{"NONE"});
  const auto off = docker::run_argv(parse({{"image", "a/b:c"}, {"health", {{"test", "none"}}}}));
  CHECK(std::find(off.begin(), off.end(), "--no-healthcheck") != off.end());
}

TEST_CASE("all mistakes are told at once, with the nearest name") {
  const auto spec = docker::parse_spec(Json{{"imge", "x"}, {"memory", "lots"}, {"env", "A=1"}});
  REQUIRE_FALSE(spec);
  CHECK(spec.error().message == "container: image is missing (and 3 more)");
  const std::string all = std::get<std::string>(spec.error().details.at("problems"));
  CHECK(all.find("imge is unknown, did you mean `image`?") != std::string::npos);
  CHECK(all.find("memory: `lots` is not a size") != std::string::npos);
  CHECK(all.find("env: expected a table of names and values, got string") != std::string::npos);
}

TEST_CASE("each mistake is named") {
  CHECK(problems({{"image", "UPPER/../x"}}).find("image: ") == 0);
  CHECK(problems({{"cmd", "serve"}}) == "cmd: expected a list of strings, got string");
  CHECK(problems({{"cmd", {"a", 1}}}) == "cmd[2]: expected a string, got number");
  CHECK(problems({{"env", {{"A", {1}}}}}).find("env.A: ") == 0);
  CHECK(problems({{"env", {{"A=B", "1"}}}}) == "env: `A=B` is not a variable's name");
  CHECK(problems({{"aliases", {"web"}}}) == "aliases need a network");
  CHECK(problems({{"volumes", {"relative/x:/data"}}}).find("must be absolute") != std::string::npos);
  CHECK(problems({{"volumes", {"data"}}}).find("volumes: `data`") == 0);
  CHECK(problems({{"volumes", {"data:/data:rx"}}}).find("neither ro nor rw") != std::string::npos);
  CHECK(problems({{"restart", "sometimes"}}).find("restart: ") == 0);
  CHECK(problems({{"restart", "on-failure:0"}}).find("restart: ") == 0);
  CHECK(problems({{"restart", "n"}}).find("restart: ") == 0);  // a pointer before its text, found by fuzzing
  CHECK(problems({{"restart", "on-failure:"}}).find("restart: ") == 0);
  CHECK(problems({{"restart", "always:3"}}).find("restart: ") == 0);
  CHECK(problems({{"cpus", -1}}) == "cpus: -1 is out of range");
  CHECK(problems({{"init", "yes"}}) == "init: expected true or false, got string");
  CHECK(problems({{"stop_timeout", "10"}}).find("stop_timeout: ") == 0);
  CHECK(problems({{"stop_timeout", 10}}) == "stop_timeout: expected a string, got number");
  CHECK(problems({{"health", {{"tset", "x"}}}}).find("health.tset is unknown, did you mean `test`?") !=
        std::string::npos);
  CHECK(problems({{"health", Json::object()}}).find("health.test is missing") == 0);
  CHECK(problems({{"extra_hosts", {"db"}}}).find("extra_hosts: ") == 0);
  CHECK(problems({{"ulimits", {{"nofile", "a:b"}}}}).find("ulimits.nofile: ") == 0);
  CHECK(docker::parse_spec(Json("text")).error().message.find("is not a table of options") != std::string::npos);
}

TEST_CASE("ports are read as the docker command reads them") {
  for (const char* wrong : {"", "http", "0", "65536", "80:", ":80", "a:b", "80:80:80:80", "8000-8010:80-81", "81-80",
                            "80-", "::1:80:80", "1.2.3.4:80:80/http", "host:80:80", "80/"}) {
    INFO(wrong);
    const auto publish = docker::parse_publish(wrong);
    REQUIRE_FALSE(publish);
    CHECK(publish.error().kind == "usage");
  }
  const auto publish = docker::parse_publish("0.0.0.0:8080:80/sctp");
  REQUIRE(publish);
  REQUIRE(publish->size() == 1);
  CHECK(publish->front().ip == "0.0.0.0");
  CHECK(publish->front().host_port == "8080");
  CHECK(publish->front().container_port == "80");
  CHECK(publish->front().protocol == "sctp");
  const auto texts = [](const char* text) {
    std::string all;
    const auto parsed = docker::parse_publish(text).value();
    for (const auto& one : parsed) all += docker::publish_text(one) + " ";
    return all;
  };
  CHECK(texts("8000-8001:80-81/udp") == "8000:80/udp 8001:81/udp ");
  CHECK(texts("8000-8010:80") == "8000-8010:80 ");
  CHECK(texts("[::1]:8000-8001:80-81") == "[::1]:8000:80 [::1]:8001:81 ");
  CHECK(docker::parse_expose("80-81/udp").value() == std::vector<std::string>{"80/udp", "81/udp"});
  CHECK_FALSE(docker::parse_expose("80/http"));
}

TEST_CASE("further networks, mounts and devices in both forms") {
  const auto spec = parse({{"image", "a/b:c"},
                           {"network", "front"},
                           {"ip", "10.1.0.9"},
                           {"mac_address", "02:42:0a:01:00:09"},
                           {"networks", {{{"name", "back"}, {"aliases", {"db"}}, {"driver_options", {{"a", "b,c"}}}}}},
                           {"mounts",
                            {{{"type", "bind"}, {"source", "/a,b"}, {"target", "/x"}, {"propagation", "rslave"}},
                             {{"target", "/y"}, {"no_copy", true}, {"labels", {{"l", "1"}}}},
                             {{"type", "tmpfs"}, {"target", "/t"}, {"size", "1m"}, {"mode", "1777"}}}},
                           {"devices", {"/dev/fuse", "/dev/sda:/dev/disk:r", "/dev/null:rw", "vendor.com/gpu=all"}},
                           {"gpus", {"0", "1"}},
                           {"memory_swap", -1},
                           {"device_read_bps", {{"/dev/sda", "1m"}}},
                           {"pids_limit", 0},
                           {"security", {"systempaths=unconfined", "seccomp=unconfined"}}});
  const Json body = docker::create_body(spec);
  CHECK(body["MacAddress"] == "02:42:0a:01:00:09");
  CHECK(body["NetworkingConfig"] == Json::parse(R"({"EndpointsConfig": {"front": {
    "IPAMConfig": {"IPv4Address": "10.1.0.9"}, "MacAddress": "02:42:0a:01:00:09"}}})"));
  CHECK(docker::connect_body("id", spec.endpoints.at(0)) ==
        Json::parse(R"({"Container": "id", "EndpointConfig": {"Aliases": ["db"], "DriverOpts": {"a": "b,c"}}})"));
  const Json& host = body["HostConfig"];
  CHECK(host["Mounts"] == Json::parse(R"([
    {"Type": "bind", "Source": "/a,b", "Target": "/x", "BindOptions": {"Propagation": "rslave"}},
    {"Type": "volume", "Target": "/y", "VolumeOptions": {"NoCopy": true, "Labels": {"l": "1"}}},
    {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 1023}}])"));
  CHECK(host["Devices"] == Json::parse(R"([
    {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
    {"PathOnHost": "/dev/sda", "PathInContainer": "/dev/disk", "CgroupPermissions": "r"},
    {"PathOnHost": "/dev/null", "PathInContainer": "/dev/null", "CgroupPermissions": "rw"}])"));
  CHECK(host["DeviceRequests"] == Json::parse(R"([{"Driver": "cdi", "DeviceIDs": ["vendor.com/gpu=all"]},
    {"Driver": "", "Count": 0, "Capabilities": [["gpu"]], "DeviceIDs": ["0", "1"]}])"));
  CHECK(host["MemorySwap"] == -1);
  CHECK(host["PidsLimit"] == 0);
  CHECK(host["MaskedPaths"] == Json::array());
  CHECK(host["SecurityOpt"] == Json{"seccomp=unconfined"});
  CHECK(host["BlkioDeviceReadBps"] == Json::parse(R"([{"Path": "/dev/sda", "Rate": 1048576}])"));
  CHECK(docker::least_api(spec) == 43);

  const auto argv = docker::run_argv(spec);
  const auto has = [&](const std::string& flag, const std::string& value) {
    for (std::size_t at = 0; at + 1 < argv.size(); ++at) {
      if (argv[at] == flag && argv[at + 1] == value) return true;
    }
    return false;
  };
  CHECK(has("--network", "front"));
  CHECK(has("--network", R"(name=back,alias=db,"driver-opt=a=b,c")"));
  CHECK(has("--mount", R"(type=bind,"source=/a,b",target=/x,bind-propagation=rslave)"));
  CHECK(has("--mount", "type=volume,target=/y,volume-nocopy,volume-label=l=1"));
  CHECK(has("--mount", "type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=1777"));
  CHECK(has("--gpus", R"("device=0,1")"));
  CHECK(has("--memory-swap", "-1"));
  CHECK(has("--device-read-bps", "/dev/sda:1048576"));
  CHECK(has("--security-opt", "systempaths=unconfined"));
}

TEST_CASE("what the docker command has and a container in the background has not is explained") {
  CHECK(problems({{"detach", true}}).find("detach: containers run in the background") == 0);
  CHECK(problems({{"env_file", ".env"}}).find("env_file: read it in the recipe") == 0);
  CHECK(problems({{"network_alias", {"a"}}}) == "network_alias: is called `aliases` here");
  CHECK(problems({{"use_api_socket", true}}).find("use_api_socket: ") == 0);
  CHECK(problems({{"ipc", "public"}}) == "ipc: `public` is not none|private|shareable|host|container:*");
  CHECK(problems({{"ipc", "container:"}}).find("ipc: ") == 0);
  CHECK(problems({{"pid", "container:db"}}) == "none");
  CHECK(problems({{"aliases", {"a"}}, {"network", "host"}}) == "aliases need a network of your own, not `host`");
  CHECK(problems({{"ip", "10.0.0.2"}}) == "fixed addresses need a network");
  CHECK(problems({{"networks", {{{"name", "back"}}}}}).find("networks: further ones need a first one") == 0);
  CHECK(problems({{"networks", {{{"nmae", "back"}}}}, {"network", "a"}}).find("networks[1].name is missing") == 0);
  CHECK(problems({{"publish", {"80"}}, {"network", "container:db"}}).find("publish: the ports are those") == 0);
  CHECK(problems({{"mounts", {{{"type", "bind"}, {"source", "x"}, {"target", "/x"}}}}})
            .find("mounts[1].source: a host's folder must be absolute") == 0);
  CHECK(problems({{"mounts", {{{"target", "/x"}, {"size", "1m"}}}}}).find("mounts[1].size is unknown") == 0);
  CHECK(problems({{"security", {"seccomp=/etc/profile.json"}}}).find("give the profile itself") != std::string::npos);
  CHECK(problems({{"auto_remove", true}, {"restart", "always"}}).find("restart: ") == 0);
  CHECK(problems({{"cpus", 1}, {"cpu_quota", 50000}}).find("cpus: says the same") == 0);
  CHECK(problems({{"oom_score_adj", 2000}}) == "oom_score_adj: 2000 is out of range");
  CHECK(problems({{"device_write_iops", {{"/dev/sda", "1m"}}}}).find("is not a number") != std::string::npos);
  CHECK(problems({{"device_write_iops", {{"sda", 5}}}}).find("is no device") != std::string::npos);
  CHECK(problems({{"devices", {"fuse"}}}).find("devices: ") == 0);
  CHECK(problems({{"gpus", "some"}}).find("gpus: ") == 0);
  CHECK(problems({{"volumes", {"data:/data:ro,z"}}}) == "none");
  CHECK(problems({{"memory_swap", "much"}}).find("memory_swap: ") == 0);
}

TEST_CASE("newer options ask for the engine's newer interface") {
  const auto least = [](Json table) {
    table["image"] = "a/b:c";
    return docker::least_api(parse(table));
  };
  CHECK(least(Json::object()) == 0);
  CHECK(least({{"annotations", {{"a", "b"}}}}) == 43);
  CHECK(least({{"health", {{"test", "x"}, {"start_interval", "1s"}}}}) == 44);
  CHECK(least({{"mounts", {{{"source", "data"}, {"target", "/x"}, {"subpath", "a"}}}}}) == 45);
  CHECK(least({{"network", "a"}, {"gateway_priority", 1}}) == 48);
}

TEST_CASE("sizes have the docker command's units") {
  const auto bytes = [](const char* text) {
    const auto parsed = docker::parse_bytes(text);
    return parsed ? *parsed : 0;
  };
  CHECK(bytes("1024") == 1024);
  CHECK(bytes("1k") == 1024);
  CHECK(bytes("1.5G") == 1610612736);
  CHECK(bytes("64MB") == 67108864);
  for (const char* wrong : {"", "m", "-1m", "0", "1x", "1mm", "1bb", "nan", "inf", "1e300g"}) {
    INFO(wrong);
    CHECK(bytes(wrong) == 0);
  }
}
