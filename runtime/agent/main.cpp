// deployrun-agent: SQLite on a server, for deployrun on another machine (`serve`) and for entrypoints (`once`). Static:
// it runs in images that hold nothing else.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/duration.hpp"
#include "once.hpp"
#include "server.hpp"
#include "siblings.hpp"

namespace {

using deployrun::core::Milliseconds;

constexpr int kUsage = 2;
constexpr const char* kHelp =
    R"(usage: deployrun-agent once --db FILE --key KEY [--timeout 60s] -- COMMAND …
       deployrun-agent serve [--lease 30s]
       deployrun-agent --version

once   Runs COMMAND unless it was done under this key, and remembers in the database that it was. Of many who start
       at a time one runs it; the others wait for it, then go on; where it fails or dies, the next one runs it. The
       exit code is the command's; 0 where it was done before; 75 where it was not done within the timeout; 70 where
       the database cannot be used.
serve  Answers requests on its input, a JSON value per line, until the input's end. Exits 75 where it hears nothing
       for as long as the lease.
)";

int usage(const char* why) {
  std::fprintf(stderr, "deployrun-agent: %s\n%s", why, kHelp);
  return kUsage;
}

bool duration(const char* text, Milliseconds& into) {
  auto parsed = deployrun::core::parse_duration(text);
  if (parsed) into = *parsed;
  return parsed.ok();
}

int once(int count, char** words) {
  deployrun::agent::OnceOptions options;
  int at = 0;
  for (; at < count && std::strcmp(words[at], "--") != 0; at += 2) {
    const std::string_view name = words[at];
    if (at + 1 == count) return usage("once: an option without its value, or no -- before the command");
    const char* value = words[at + 1];
    if (name == "--db") {
      options.database = value;
    } else if (name == "--key") {
      options.key = value;
    } else if (name == "--timeout") {
      if (!duration(value, options.timeout)) return usage("once: --timeout is a duration such as 60s");
    } else {
      return usage("once: an unknown option");
    }
  }
  for (++at; at < count; ++at) options.command.emplace_back(words[at]);
  if (options.database.empty() || options.key.empty() || options.command.empty()) {
    return usage("once: --db, --key and a command behind -- are needed");
  }
  return deployrun::agent::run_once(options);
}

int serve(int count, char** words) {
  Milliseconds lease = deployrun::agent::kLease;
  if (count != 0 && (count != 2 || std::strcmp(words[0], "--lease") != 0 || !duration(words[1], lease) ||
                     lease < Milliseconds(100))) {
    return usage("serve: the one option is --lease, a duration such as 30s");
  }
  std::signal(SIGPIPE, SIG_IGN);
  deployrun::agent::tend_siblings();
  deployrun::agent::Server server(lease);
  ::_exit(server.run());  // without destructors: threads that hang may still use what they would destroy
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc < 2 ? "" : argv[1];
  if (what == "once") return once(argc - 2, argv + 2);
  if (what == "serve") return serve(argc - 2, argv + 2);
  if (what == "--version" && argc == 2) return std::puts("deployrun-agent " DEPLOYRUN_VERSION) < 0 ? 1 : 0;
  if (what == "--help" || what == "-h") return std::fputs(kHelp, stdout) < 0 ? 1 : 0;
  return usage(what.empty() ? "nothing to do" : "an unknown command");
}
