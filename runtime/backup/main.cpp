// deployrun-backup: backups of a database, on the server that has it, for its timer and for deployrun. Static: what it
// needs is in it, and deployrun's machine is not asked. A plan's folder says what and where (engines/backup/plan.hpp).
#include <netdb.h>
#include <nss.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "backup/job.hpp"
#include "backup/work.hpp"
#include "core/duration.hpp"
#include "json/error.hpp"

namespace {

using deployrun::backup::Job;
using deployrun::backup::Json;
using deployrun::backup::Stop;
namespace core = deployrun::core;

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr const char* kHelp =
    R"(usage: deployrun-backup COMMAND PLAN [WORD]

PLAN is the folder that deployrun has made for a backup: ~/.deployrun/backup/NAME. The answer is a line of JSON.

now             takes a backup, puts it into every store, removes what is outdated there
list            what is in the stores, and how the last backup went
drill [ID]      fetches a backup, the newest unless told, and checks all of it, apart from the database
fetch [ID]      the same, and leaves it in PLAN/restore
keep LABEL      copies what the database holds to PLAN/restore
load FILE       replaces the database's content by a file of PLAN/restore
check           checks the database
discard FILE    removes a file of PLAN/restore
)";

Stop stop{false};
Stop timed_out{false};

int usage(const char* why) {
  std::fprintf(stderr, "deployrun-backup: %s\n%s", why, kHelp);
  return kUsage;
}

int say(const core::Result<Json>& outcome) {
  Json line;
  if (outcome) {
    line["result"] = *outcome;
  } else {
    line["error"] = deployrun::json::to_json(outcome.error());
    std::fprintf(stderr, "deployrun-backup: %s\n", core::describe(outcome.error()).c_str());
  }
  std::printf("%s\n", deployrun::json::dump(line).c_str());
  return outcome ? 0 : kFailed;
}

extern "C" void on_signal(int) { stop = true; }

/// Stops the work when its time is up, and where whoever reads our answer has gone: nothing here outlives its task.
void watch(core::Milliseconds deadline) {
  std::thread([deadline] {
    const auto until = std::chrono::steady_clock::now() + deadline;
    while (!stop) {
      pollfd reader{STDOUT_FILENO, 0, 0};
      if (::poll(&reader, 1, 200) > 0 && (reader.revents & (POLLERR | POLLHUP)) != 0) stop = true;
      if (std::chrono::steady_clock::now() < until) continue;
      timed_out = true;
      stop = true;
    }
  }).detach();
}

core::Result<Json> run(Job& job, std::string_view command, const std::string& word) {
  if (command == "now") return job.now();
  if (command == "list") return job.list();
  if (command == "drill") return job.drill(word);
  if (command == "fetch") return job.fetch(word);
  if (command == "keep") return job.keep(word);
  if (command == "load") return job.load(word);
  if (command == "check") return job.check();
  return job.discard(word);
}

int with_plan(std::string_view command, const std::string& home, const std::string& word) {
  auto plan = deployrun::backup::read_plan(home);
  if (!plan) return say(std::move(plan).error());
  const core::Milliseconds deadline = plan->deadline;
  watch(deadline);
  Job job(std::move(*plan), stop);
  auto outcome = run(job, command, word);
  if (!outcome && outcome.error().is("cancelled") && timed_out) {
    return say(core::Error{.kind = "timeout",
                           .message = std::string(command) + ": not done within " + core::format_duration(deadline)});
  }
  return say(outcome);
}

int inside(const char* text) {
  auto task = deployrun::json::parse(text);
  if (!task) return say(std::move(task).error());
  watch(std::chrono::hours(24));  // whoever started us ends us
  return say(deployrun::backup::do_work(*task, stop));
}

bool takes_word(std::string_view command) {
  return command == "drill" || command == "fetch" || command == "keep" || command == "load" || command == "discard";
}

bool needs_word(std::string_view command) { return command == "keep" || command == "load" || command == "discard"; }

bool is_command(std::string_view command) {
  return takes_word(command) || command == "now" || command == "list" || command == "check";
}

/// A static program may load nothing of the server's: neither modules of OpenSSL nor those of its name service.
void stay_alone() {
  ::setenv("OPENSSL_CONF", "/dev/null", 1);
  ::__nss_configure_lookup("hosts", "files dns");
  ::__nss_configure_lookup("services", "files");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc < 2 ? "" : argv[1];
  if (command == "--version" && argc == 2) return std::puts("deployrun-backup " DEPLOYRUN_VERSION) < 0 ? kFailed : 0;
  if (command == "--help" || command == "-h") return std::fputs(kHelp, stdout) < 0 ? kFailed : 0;
  stay_alone();
  std::signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, on_signal);
  ::umask(077);
  if (command == "inside" && argc == 3) return inside(argv[2]);
  if (!is_command(command)) return usage(command.empty() ? "nothing to do" : "an unknown command");
  if (argc < 3 || argc > (takes_word(command) ? 4 : 3)) return usage("the folder of a plan is needed");
  if (needs_word(command) && argc != 4) return usage("a word behind the plan is needed");
  return with_plan(command, argv[2], argc > 3 ? argv[3] : "");
}
