#include "report/log_file.hpp"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace deployrun;
using namespace deployrun::report;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "deployrun-log-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path path;
};

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json run_started(const std::string& run) {
  return {{"type", "run.started"},
          {"time", "2026-11-21T09:00:00.123Z"},
          {"run", run},
          {"recipe", "recipes/prod.lua"},
          {"command", "deploy"}};
}

}  // namespace

TEST_CASE("a run's log has everything, with times, for its owner alone") {
  const Folder folder;
  core::Loop loop;
  LogFile log(loop, {.folder = folder.path / ".deployrun/log", .head = "deployrun 0.1.0"});
  log.event({{"type", "log"}, {"level", "info"}, {"message", "before any run"}});
  CHECK(log.path().empty());
  CHECK_FALSE(std::filesystem::exists(folder.path / ".deployrun"));
  log.event(run_started("20261121-090000-abc"));
  log.event({{"type", "task.output"}, {"time", "2026-11-21T09:00:01.000Z"}, {"host", "web1"}, {"line", "migrating"}});
  log.event({{"type", "log"}, {"time", "2026-11-21T09:00:02.000Z"}, {"level", "trace"}, {"message", "a\nb"}});
  log.flush();
  CHECK(log.path() == (folder.path / ".deployrun/log/20261121-090000-abc.log").string());
  CHECK(content(log.path()) ==
        "deployrun 0.1.0\n"
        "09:00:00.123  deploy  recipes/prod.lua  run 20261121-090000-abc\n"
        "09:00:01.000    web1   | migrating\n"
        "09:00:02.000    a\n"
        "09:00:02.000      b\n");
  CHECK(std::filesystem::status(log.path()).permissions() == std::filesystem::perms(0600));
  CHECK(std::filesystem::status(folder.path / ".deployrun/log").permissions() == std::filesystem::perms(0700));
}

TEST_CASE("a resumed run goes on in its file; the oldest files go") {
  const Folder folder;
  core::Loop loop;
  const auto logs = folder.path / "log";
  for (int day = 10; day < 20; ++day) {
    LogFile log(loop, {.folder = logs, .head = "deployrun", .keep = 4});
    log.event(run_started("202611" + std::to_string(day) + "-090000-abc"));
    log.flush();
  }
  std::ofstream(logs / "notes.txt") << "not ours";
  LogFile log(loop, {.folder = logs, .head = "again", .keep = 4});
  log.event(run_started("20261118-090000-abc"));
  log.flush();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(logs)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"20261116-090000-abc.log", "20261117-090000-abc.log",
                                          "20261118-090000-abc.log", "20261119-090000-abc.log", "notes.txt"});
  const std::string text = content(log.path());
  CHECK(text.find("deployrun\n") == 0);
  CHECK(text.find("again\n") != std::string::npos);
}

TEST_CASE("nothing is written through a link, nor where a file cannot be") {
  const Folder folder;
  core::Loop loop;
  const auto logs = folder.path / "log";
  std::filesystem::create_directories(logs);
  std::ofstream(folder.path / "precious") << "mine";
  std::filesystem::create_symlink(folder.path / "precious", logs / "20261121-090000-abc.log");
  std::filesystem::create_hard_link(folder.path / "precious", logs / "20261122-090000-abc.log");
  for (const char* run : {"20261121-090000-abc", "20261122-090000-abc", "../precious", ""}) {
    INFO(run);
    std::vector<core::Error> failed;
    LogFile log(loop,
                {.folder = logs, .head = "x", .failed = [&](const core::Error& error) { failed.push_back(error); }});
    log.event(run_started(run));
    log.event({{"type", "log"}, {"level", "info"}, {"message", "lost"}});
    log.flush();
    REQUIRE(failed.size() == 1);
    CHECK(failed[0].kind == "report.log");
    CHECK(log.path().empty());
  }
  CHECK(content(folder.path / "precious") == "mine");
}

TEST_CASE("a log that has reached its largest size says so and grows no more") {
  const Folder folder;
  core::Loop loop;
  LogFile log(loop, {.folder = folder.path / "log", .head = "x", .limit = 2000});
  log.event(run_started("20261121-090000-abc"));
  for (int i = 0; i < 1000; ++i)
    log.event({{"type", "task.output"}, {"host", "web1"}, {"line", "over and over again"}});
  log.flush();
  const std::string text = content(log.path());
  CHECK(text.size() < 2200);
  CHECK(text.ends_with("(the log ends here: it has reached its largest size)\n"));
}
