#include "backup/place.hpp"

#include <unistd.h>

#include <array>

#include "agent/protocol.hpp"
#include "backup/tool.hpp"
#include "backup/work.hpp"
#include "core/tar.hpp"
#include "core/text.hpp"

namespace deployrun::backup {

namespace {

constexpr const char* kImage = "localhost/deployrun-empty:1";
constexpr const char* kProgram = "/deployrun-backup";
constexpr const char* kScratch = "/scratch";
constexpr const char* kVolume = "/volume";
constexpr int kNoDaemon = 125;

core::Error failed(const std::string& engine, const ToolEnd& end) {
  const auto lines = core::lines(end.err);
  const std::string said = lines.empty() ? "exit code " + std::to_string(end.code) : core::clean(lines.back());
  return {.kind = "backup.engine",
          .message = engine + ": " + said,
          .hint = "may this user use the engine, and is there such a volume or container?"};
}

std::string own_path() {
  std::array<char, 4096> link{};
  const ssize_t size = ::readlink("/proc/self/exe", link.data(), link.size());
  return {link.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
}

}  // namespace

core::Result<Json> Workplace::copy(const std::string& name, const Stop& stop) {
  return work({{"do", "copy"}, {"to", name}, {"level", plan_.level}}, stop);
}

core::Result<Json> Workplace::load(const std::string& name, const std::string& sha256, const Stop& stop) {
  return work({{"do", "load"}, {"from", name}, {"sha256", sha256}}, stop);
}

core::Result<Json> Workplace::check(const Stop& stop) { return work({{"do", "check"}}, stop); }

core::Result<Json> Workplace::work(Json task, const Stop& stop) {
  const bool inside = plan_.place.inside();
  const std::string scratch = inside ? kScratch : plan_.scratch();
  for (const char* file : {"to", "from"}) {
    if (task.contains(file)) task[file] = scratch + "/" + task[file].get<std::string>();
  }
  task["scratch"] = scratch;
  task["database"] = plan_.place.volume.empty() ? plan_.place.path : std::string(kVolume) + "/" + plan_.place.path;
  task["patience_ms"] = plan_.patience.count();
  return inside ? work_inside(task, stop) : do_work(task, stop);
}

core::Result<core::Unit> Workplace::provide_image(const std::string& engine, const Stop& stop) {
  auto found = run_tool({engine, "image", "inspect", kImage}, {}, stop);
  if (!found) return std::move(found).error();
  if (found->code == 0) return core::Unit{};
  // An image must hold something: the folder that is mounted over.
  const std::string archive = core::tar_member({.name = "scratch/", .type = '5', .mode = 0755}, {}) + core::tar_end();
  auto made = run_tool({engine, "import", "-", kImage}, archive, stop);
  if (!made) return std::move(made).error();
  if (made->code != 0) return failed(engine, *made);
  return core::Unit{};
}

core::Result<Json> Workplace::work_inside(const Json& task, const Stop& stop) {
  const std::string engine = has_tool("docker") || !has_tool("podman") ? "docker" : "podman";
  if (auto image = provide_image(engine, stop); !image) return std::move(image).error();
  const Place& place = plan_.place;
  const std::string name = "deployrun-backup-" + plan_.name + "-" + std::to_string(::getpid());
  std::vector<std::string> argv{engine,
                                "run",
                                "--rm",
                                "--name=" + name,
                                "--label=deployrun.backup=" + plan_.name,
                                "--network=none",
                                "--pid=host",
                                "--security-opt=no-new-privileges",
                                "--pull=never",
                                "--mount=type=bind,readonly,source=" + own_path() + ",target=" + kProgram,
                                "--mount=type=bind,source=" + plan_.scratch() + ",target=" + kScratch};
  if (!place.volume.empty()) argv.push_back("--volume=" + place.volume + ":" + kVolume);
  if (!place.container.empty()) argv.push_back("--volumes-from=" + place.container);
  if (!place.user.empty()) argv.push_back("--user=" + place.user);
  for (const std::string& word :
       {std::string("--entrypoint=") + kProgram, std::string(kImage), std::string("inside"), json::dump(task)}) {
    argv.push_back(word);
  }
  auto end = run_tool(argv, {}, stop);
  if (!end) {
    static const Stop kGoOn{false};
    (void)run_tool({engine, "kill", name}, {}, kGoOn);  // the command's end is not the container's
    return std::move(end).error();
  }
  auto said = json::parse(end->out, {}, engine);
  if (end->code >= kNoDaemon || !said || !said->is_object()) return failed(engine, *end);
  if (said->contains("result")) return (*said)["result"];
  if (said->contains("error")) return agent::error_of((*said)["error"]);
  return failed(engine, *end);
}

}  // namespace deployrun::backup
