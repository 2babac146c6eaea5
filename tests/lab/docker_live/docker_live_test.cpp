// A container's whole life on a real engine: load, pull, create, start, exec, logs, stop, remove; networks and volumes.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "http/wait_healthy.hpp"
#include "live.hpp"

extern char** environ;

using namespace deployrun;
using docker::Json;
using live::Live;
using live::run;

namespace {

/// docker-registry on a loopback port, its data in a folder of its own.
class Registry {
 public:
  Registry() {
    folder_ = "/tmp/docker-live-registry-" + std::to_string(::getpid());
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ + "/config.yml")
        << "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: " << folder_
        << "/data\nhttp:\n  addr: 127.0.0.1:" << kPort << "\n";
    std::string program = "docker-registry", verb = "serve", config = folder_ + "/config.yml";
    std::array<char*, 4> argv = {program.data(), verb.data(), config.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    REQUIRE(::posix_spawnp(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Registry() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }
  static constexpr int kPort = 5987;
  std::string address() const { return "127.0.0.1:" + std::to_string(kPort); }

 private:
  std::string folder_;
  pid_t pid_ = 0;
};

}  // namespace

TEST_CASE("the engine answers") {
  Live live;
  CHECK_FALSE(live.get(docker::ping(live.client)).empty());
  CHECK(live.get(docker::version(live.client)).contains("ApiVersion"));
  CHECK(live.get(docker::info(live.client)).contains("Driver"));
}

TEST_CASE("a container's life") {
  Live live;
  const std::string name = live.prefix + "-app";
  const auto spec =
      live.spec({{"name", name},
                 {"cmd",
                  {"busybox", "sh", "-c",
                   "trap 'echo bye; exit 7' TERM; echo out; echo err >&2; while :; do busybox sleep 0.05; done"}},
                 {"env", {{"COLOUR", "blue = sky"}}},
                 {"network", "none"},
                 {"memory", "64m"},
                 {"stop_timeout", "5s"},
                 {"health", {{"test", {"busybox", "true"}}, {"interval", "60s"}}}});
  const auto created = live.get(docker::create_container(live.client, spec));
  CHECK(created.id.size() == 64);
  CHECK(live.kind(docker::create_container(live.client, spec)) == "docker.conflict");
  CHECK(live.kind(docker::exec(live.client, name, {"busybox", "true"})) == "docker.conflict");

  CHECK(live.get(docker::start_container(live.client, name)));
  CHECK_FALSE(live.get(docker::start_container(live.client, name)));
  const Json state = live.get(docker::inspect_container(live.client, name));
  CHECK(state["running"] == true);
  CHECK(state["name"] == name);
  CHECK(state["env"]["COLOUR"] == "blue = sky");
  CHECK(state["health"] == "starting");
  CHECK(state["raw"]["HostConfig"]["Memory"] == 64 << 20);

  const auto good =
      live.get(docker::exec(live.client, name, {"busybox", "sh", "-c", "echo \"$A\"; echo no >&2; exit 3"},
                            {.env = {{"A", "x y"}}, .user = {}, .workdir = {}}));
  CHECK(good.out == "x y\n");
  CHECK(good.err == "no\n");
  CHECK(good.code == 3);
  CHECK(live.get(docker::exec(live.client, name, {"no-such-program"})).code >= 126);
  docker::ExecOptions unasked;
  unasked.ask_code = false;
  const auto ended = live.get(docker::exec(live.client, name, {"busybox", "sh", "-c", "echo said; exit 3"}, unasked));
  CHECK(ended.out == "said\n");
  CHECK_FALSE(ended.code);
  CHECK(live.get(docker::exec_code(live.client, ended.id)) == 3);
  CHECK_THROWS(docker::exec_code(live.client, "../../containers"));

  docker::ListOptions options{
      .all = false, .labels = {"deployrun-live=" + live.prefix}, .name = name, .states = {"running"}};
  const Json list = live.get(docker::list_containers(live.client, options));
  REQUIRE(list.size() == 1);
  CHECK(list[0]["name"] == name);

  docker::Follow follow(live.client, name, {});
  std::vector<std::string> lines;
  const auto next = [&] {
    core::Queue<docker::LogLine>::Next one(follow.lines());
    auto line = run(live.loop, one);
    REQUIRE(line);
    if (*line) lines.push_back(((*line)->source == docker::Source::err ? "err:" : "out:") + (*line)->text);
    return line->has_value();
  };
  REQUIRE(next());
  REQUIRE(next());

  live.get(docker::rename_container(live.client, name, name + "-old"));
  CHECK(live.get(docker::stop_container(live.client, name + "-old")));
  CHECK_FALSE(live.get(docker::stop_container(live.client, name + "-old")));
  while (next()) {
  }
  CHECK(std::count(lines.begin(), lines.end(), "out:out") == 1);
  CHECK(std::count(lines.begin(), lines.end(), "err:err") == 1);
  CHECK(lines.back() == "out:bye");
  CHECK(live.get(docker::wait_container(live.client, name + "-old")) == 7);
  const auto logs = live.get(docker::logs(live.client, name + "-old", {.tail = 1, .since = {}, .timestamps = false}));
  CHECK(logs.text == "bye\n");

  CHECK(live.kind(docker::kill_container(live.client, name + "-old")) == "docker.conflict");
  live.get(docker::remove_container(live.client, name + "-old"));
  CHECK(live.kind(docker::inspect_container(live.client, name + "-old")) == "docker.not_found");
}

TEST_CASE("networks, aliases and volumes") {
  Live live;
  live.get(docker::create_network(live.client, live.prefix));
  CHECK(live.kind(docker::create_network(live.client, live.prefix)) == "docker.conflict");
  const Json volume = live.get(docker::create_volume(live.client, live.prefix));
  CHECK(volume["name"] == live.prefix);
  live.get(docker::create_volume(live.client, live.prefix));

  const auto web = live.spec({{"name", live.prefix + "-web"},
                              {"cmd", {"busybox", "httpd", "-f", "-p", "8080", "-h", "/data"}},
                              {"network", live.prefix},
                              {"aliases", {"web"}},
                              {"volumes", {live.prefix + ":/data"}},
                              {"publish", {"127.0.0.1:18087:8080"}}});
  live.get(docker::create_container(live.client, web));
  live.get(docker::start_container(live.client, web.name));
  const auto written = live.get(docker::exec(live.client, web.name, {"busybox", "sh", "-c", "echo ready > /data/up"}));
  REQUIRE(written.code == 0);
  const auto inside =
      live.get(docker::exec(live.client, web.name, {"busybox", "wget", "-q", "-O", "-", "http://web:8080/up"}));
  CHECK(inside.out == "ready\n");

  http::Request up;
  up.url = "http://127.0.0.1:18087/up";
  http::Expectation ready;
  ready.body_contains = "ready";
  http::WaitHealthy healthy(live.http, up, ready, {.successes = 2, .within = core::Milliseconds(60'000)});
  const auto answered = run(live.loop, healthy);
  if (!answered) FAIL(core::describe(answered.error()));
  CHECK(answered->reply.body == "ready\n");

  CHECK(live.get(docker::list_networks(live.client, {}, live.prefix)).size() == 1);
  CHECK(live.get(docker::inspect_network(live.client, live.prefix))["containers"].size() == 1);
  live.get(docker::disconnect_network(live.client, live.prefix, web.name, true));
  live.get(docker::connect_network(live.client, live.prefix, web.name, {"again"}));
  CHECK(live.kind(docker::remove_volume(live.client, live.prefix)) == "docker.conflict");
  live.get(docker::remove_container(live.client, web.name, true));
  live.get(docker::remove_network(live.client, live.prefix));
  live.get(docker::remove_volume(live.client, live.prefix));
  CHECK(live.kind(docker::inspect_volume(live.client, live.prefix)) == "docker.not_found");
}

TEST_CASE("pull from a registry on loopback") {
  Live live;
  Registry registry;
  http::Request up;
  up.url = "http://" + registry.address() + "/v2/";
  http::WaitHealthy ready(live.http, up, {}, {.within = core::Milliseconds(60'000)});
  REQUIRE(run(live.loop, ready));
  // The engine itself pushes: the test needs no client of its own for that.
  docker::Ask push{.what = "push",
                   .method = "POST",
                   .path = "/images/" + docker::image_part("127.0.0.1:5987/" + live.prefix) + "/push"};
  push.query = {{"tag", "v1"}};
  push.headers = {{"X-Registry-Auth", docker::registry_auth({}, {})}};
  docker::Answer pushed(live.client, push);
  const auto answer = run(live.loop, pushed);
  REQUIRE(answer);
  REQUIRE(answer->body.find("errorDetail") == std::string::npos);

  live.get(docker::remove_image(live.client, live.image));
  CHECK(live.kind(docker::inspect_image(live.client, live.image)) == "docker.not_found");
  std::vector<docker::Progress> seen;
  const auto pulled = live.get(
      docker::pull(live.client, live.image, {}, [&](const docker::Progress& progress) { seen.push_back(progress); }));
  CHECK(pulled.changed);
  CHECK(pulled.digest.rfind("sha256:", 0) == 0);
  REQUIRE_FALSE(seen.empty());
  CHECK(seen.back().layers == 1);
  CHECK(seen.back().done == 1);
  const auto again = live.get(docker::pull(live.client, live.image));
  CHECK_FALSE(again.changed);
  const auto by_digest = live.get(docker::pull(live.client, "127.0.0.1:5987/" + live.prefix + "@" + pulled.digest));
  CHECK(by_digest.digest == pulled.digest);

  const Json image = live.get(docker::inspect_image(live.client, live.image));
  CHECK(image["labels"]["made-by"] == "docker_live");
  live.get(docker::tag_image(live.client, live.image, live.image + "-copy"));
  CHECK(live.get(docker::list_images(live.client, "127.0.0.1:5987/" + live.prefix)).size() == 1);

  CHECK(live.kind(docker::pull(live.client, "127.0.0.1:5987/" + live.prefix + ":v2")) == "docker.not_found");
  CHECK(live.kind(docker::pull(live.client, "127.0.0.1:1/nobody:v1")) == "docker.pull");
}

TEST_CASE("what is not there and what is not allowed") {
  Live live;
  CHECK(live.kind(docker::start_container(live.client, "deployrun-nobody")) == "docker.not_found");
  docker::ContainerSpec nothing;
  nothing.image = "127.0.0.1:1/nobody:v1";
  CHECK(live.kind(docker::create_container(live.client, nothing)) == "docker.not_found");
  auto elsewhere = std::make_shared<docker::Client>(
      live.http, docker::Endpoint{.unix_socket = "/nonexistent.sock", .dial = {}, .host = "local"});
  CHECK(live.kind(docker::ping(elsewhere)) == "docker.connect");
}
