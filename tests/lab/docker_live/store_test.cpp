// What an engine holds: files of containers, events, use of memory and disk, tidying up, and images that travel from
// one engine to another.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <ctime>

#include "docker/archives.hpp"
#include "docker/ship.hpp"
#include "docker/system.hpp"
#include "live.hpp"

extern char** environ;

using namespace deployrun;
using docker::Json;
using live::Live;
using live::run;

namespace {

/// A second engine, with a store of its own.
class SecondEngine {
 public:
  SecondEngine() {
    folder_ = "/tmp/docker-live-engine-" + std::to_string(::getpid());
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ + "/daemon.json") << "{}";  // not the machine's own settings
    // In a network of its own: `--bridge=none` removes the bridge that it finds, and that is the machine's engine's.
    std::vector<std::string> words = {"unshare",
                                      "--net",
                                      "dockerd",
                                      "--config-file",
                                      folder_ + "/daemon.json",
                                      "--data-root",
                                      folder_ + "/data",
                                      "--exec-root",
                                      folder_ + "/exec",
                                      "--pidfile",
                                      folder_ + "/pid",
                                      "--host",
                                      "unix://" + socket(),
                                      "--iptables=false",
                                      "--bridge=none",
                                      "--log-level=error"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, (folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    REQUIRE(::posix_spawnp(&pid_, "unshare", &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~SecondEngine() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string socket() const { return folder_ + "/sock"; }
  std::string log() const { return live::read_file(folder_ + "/log"); }

 private:
  std::string folder_;
  pid_t pid_ = 0;
};

std::string layer(const std::string& name, std::size_t size) {
  std::string bytes(size, '\0');
  unsigned state = 1;
  for (char& byte : bytes)
    byte = static_cast<char>((state = state * 1103515245U + 12345U) >> 24U);  // no zip would help
  return docker::tar_member({.name = name}, bytes) + docker::tar_end();
}

}  // namespace

TEST_CASE("files go into a container and come out of it") {
  Live live;
  const auto spec = live.spec({{"name", live.prefix + "-files"}, {"network", "none"}, {"cmd", {"busybox", "true"}}});
  live.get(docker::create_container(live.client, spec));
  const std::string blob("zero\0one\n", 9);
  live.get(docker::put_archive(live.client, spec.name, "/",
                               {{{.name = "etc/app", .type = '5', .mode = 0750}, ""},
                                {{.name = "etc/app/secret", .mode = 0640, .uid = 12, .gid = 34}, blob},
                                {{.name = std::string(120, 'n')}, "long"}}));
  const auto file = live.get(docker::get_archive(live.client, spec.name, "/etc/app/secret"));
  REQUIRE(file.size() == 1);
  CHECK(file[0].bytes == blob);
  CHECK(file[0].member.name == "secret");
  CHECK(file[0].member.mode == 0640);
  CHECK(file[0].member.uid == 12);
  CHECK(file[0].member.gid == 34);
  CHECK(live.get(docker::get_archive(live.client, spec.name, "/etc/app")).size() == 2);
  CHECK(live.get(docker::get_archive(live.client, spec.name, "/" + std::string(120, 'n'))).at(0).bytes == "long");

  CHECK(live.kind(docker::get_archive(live.client, spec.name, "/etc/nothing")) == "docker.not_found");
  CHECK(live.kind(docker::get_archive(live.client, "deployrun-nobody", "/etc")) == "docker.not_found");
  CHECK(live.kind(docker::put_archive(live.client, spec.name, "/nowhere", {{{.name = "a"}, "b"}})) ==
        "docker.not_found");
  for (const char* name : {"/etc/passwd", "../etc/passwd", "a/../../b", ""}) {
    CHECK_THROWS_AS(docker::put_archive(live.client, spec.name, "/", {{{.name = name}, "x"}}), core::Failure);
  }
  CHECK_THROWS_AS(docker::get_archive(live.client, spec.name, "etc"), core::Failure);
}

TEST_CASE("events, and what a container uses") {
  Live live;
  const std::string name = live.prefix + "-busy";
  docker::Events events(live.client, {{"container", {name}}, {"type", {"container"}}},
                        std::to_string(std::time(nullptr) - 1), "");
  std::vector<std::string> seen;
  const auto next = [&] {
    core::Queue<docker::Event>::Next one(events.queue());
    auto event = run(live.loop, one);
    REQUIRE(event);
    REQUIRE(event->has_value());
    CHECK((*event)->name == name);
    CHECK((*event)->time > 1.6e9);
    CHECK((*event)->attributes.at("deployrun-live") == live.prefix);
    seen.push_back((*event)->type + " " + (*event)->action);
  };
  const auto spec = live.spec({{"name", name},
                               {"network", "none"},
                               {"memory", "64m"},
                               {"cmd", {"busybox", "sh", "-c", "while :; do :; done"}}});
  // The engine has answered later questions by then, so the stream stands.
  live.get(docker::version(live.client));
  live.get(docker::create_container(live.client, spec));
  live.get(docker::start_container(live.client, name));
  next();
  next();
  CHECK(seen == std::vector<std::string>{"container create", "container start"});

  const Json used = live.get(docker::stats(live.client, name));
  CHECK(used["cpu"].get<double>() > 0);
  CHECK(used["pids"] == 1);
  CHECK(used["memory_limit_bytes"] == 64 << 20);
  CHECK(used["memory_bytes"].get<double>() > 0);
  live.get(docker::kill_container(live.client, name));
  next();
  CHECK(seen.back() == "container kill");
  events.close();
  while (true) {
    core::Queue<docker::Event>::Next rest(events.queue());
    const auto event = run(live.loop, rest);
    REQUIRE(event);
    if (!event->has_value()) break;
  }
}

TEST_CASE("use of the disk, and tidying up") {
  Live live;
  const auto before = live.get(docker::disk_usage(live.client));
  CHECK(before["images"]["count"].get<int>() >= 1);
  CHECK(before["images"]["bytes"].get<double>() > 100'000);
  const auto spec = live.spec({{"name", live.prefix + "-old"}, {"network", "none"}, {"cmd", {"busybox", "true"}}});
  const auto created = live.get(docker::create_container(live.client, spec));
  live.get(docker::create_network(live.client, live.prefix, {.labels = {{"deployrun-live", live.prefix}}}));
  const auto only = std::map<std::string, std::vector<std::string>>{{"label", {"deployrun-live=" + live.prefix}}};
  const Json pruned = live.get(docker::prune(live.client, "containers", only));
  CHECK(pruned["removed"] == Json{created.id});
  CHECK(live.get(docker::prune(live.client, "containers", only))["removed"].empty());
  CHECK(live.get(docker::prune(live.client, "networks", only))["removed"] == Json{live.prefix});
  CHECK(live.kind(docker::inspect_network(live.client, live.prefix)) == "docker.not_found");
  CHECK_THROWS_AS(docker::prune(live.client, "everything", {}), core::Failure);
}

TEST_CASE("an image goes to another engine, and only the layers that it lacks") {
  Live live;
  SecondEngine second;
  const auto other = std::make_shared<docker::Client>(
      live.http, docker::Endpoint{.unix_socket = second.socket(), .dial = {}, .host = "local"});
  const core::Instant deadline = core::Loop::now() + core::Milliseconds(60'000);
  const auto is_up = [&] {
    auto look = docker::ping(other);
    return static_cast<bool>(run(live.loop, *look));
  };
  bool up = false;
  while (!(up = is_up()) && core::Loop::now() < deadline) {
    core::Timer pause(live.loop);
    bool over = false;
    pause.start(core::Milliseconds(100), [&] { over = true; });
    while (!over) uv_run(live.loop.raw(), UV_RUN_ONCE);
  }
  INFO(second.log());
  REQUIRE(up);

  const std::string repository = "127.0.0.1:5987/" + live.prefix;
  const auto base = live::base_layer(live.image), two = layer("two", 3U << 20U), three = layer("three", 1U << 20U);
  live.load(live.client, repository + ":a", {base, two});
  live.load(live.client, repository + ":b", {base, two, three});
  std::uint64_t told = 0;
  const auto first = live.get(docker::ship(live.client, other, repository + ":a",
                                           [&](const docker::Progress& progress) { told = progress.bytes; }));
  CHECK(first.changed);
  CHECK(first.layers == 2);
  CHECK(first.sent == 2);
  CHECK(first.bytes > base.size() + two.size());
  CHECK(told == first.bytes);
  const auto again = live.get(docker::ship(live.client, other, repository + ":a"));
  CHECK_FALSE(again.changed);
  CHECK(again.bytes == 0);

  const auto next = live.get(docker::ship(live.client, other, repository + ":b"));
  CHECK(next.changed);
  CHECK(next.layers == 3);
  CHECK(next.sent == 1);
  CHECK(next.bytes > three.size());
  CHECK(next.bytes < three.size() + 100'000);  // neither busybox nor the 3 MiB
  CHECK(next.id == live.get(docker::inspect_image(live.client, repository + ":b"))["id"]);

  // A name alone needs no archive.
  live.get(docker::tag_image(live.client, repository + ":b", repository + ":c"));
  const auto named = live.get(docker::ship(live.client, other, repository + ":c"));
  CHECK(named.changed);
  CHECK(named.bytes == 0);
  CHECK(live.kind(docker::ship(live.client, other, repository + ":nothing")) == "docker.not_found");

  // Cancelled under way: nothing under that name.
  live.get(docker::remove_image(other, repository + ":c"));
  live.load(live.client, repository + ":d", {layer("four", 8U << 20U)});
  docker::Op<docker::Shipped> cut;
  bool reached = false;
  cut = docker::ship(live.client, other, repository + ":d", [&](const docker::Progress&) { reached = true; });
  std::optional<core::Result<docker::Shipped>> ended;
  cut->start([&](core::Result<docker::Shipped> result) { ended = std::move(result); });
  while (!reached && !ended) uv_run(live.loop.raw(), UV_RUN_ONCE);
  cut->cancel();
  while (!ended) uv_run(live.loop.raw(), UV_RUN_ONCE);
  CHECK(ended->error().kind == "cancelled");
  CHECK(live.kind(docker::inspect_image(other, repository + ":d")) == "docker.not_found");
  for (const char* tag : {":a", ":b", ":c", ":d"}) live.get(docker::remove_image(live.client, repository + tag, true));
}
