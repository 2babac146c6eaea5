#include "ssh/quote.hpp"

#include <cctype>

#include "core/error.hpp"
#include "core/quote.hpp"

namespace deployrun::ssh {
namespace {

void check_name(const std::string& name) {
  bool good = !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0;
  for (const char byte : name) good = good && (std::isalnum(static_cast<unsigned char>(byte)) != 0 || byte == '_');
  if (!good) throw core::Failure(core::usage("\"" + name + "\" is not the name of an environment variable"));
}

}  // namespace

CommandLine command_line(const Command& command, const std::string& nonce) {
  if (command.argv.empty() == command.shell.empty())
    throw core::Failure(core::usage("a command is needed: words or one shell line"));
  const std::vector<std::string> words =
      command.argv.empty() ? std::vector<std::string>{"sh", "-c", command.shell} : command.argv;
  if (words[0].empty() || words[0][0] == '-') {
    throw core::Failure(core::usage("\"" + words[0] + "\" cannot be a program's name"));
  }
  CommandLine built;
  // sshd made a session of its own for this shell: its pid is the group of all that it starts. Given up before (during
  // slow start-up files, say), its output is closed, the echo fails and the command never begins.
  if (!nonce.empty()) built.line = "echo " + nonce + " $$ >&2 && ";
  if (!command.env.empty()) {
    built.line += "export";
    for (const auto& [name, value] : command.env) {
      check_name(name);
      built.line += " " + name + "=" + core::shell_quote(value);
    }
    built.line += " && ";
  }
  built.line += "exec ";
  if (!command.secret_env.empty()) {
    built.preamble = "export";
    for (const auto& [name, value] : command.secret_env) {
      check_name(name);
      std::string quoted = core::shell_quote(value.reveal());
      built.preamble += " " + name + "=";
      built.preamble += quoted;
      core::wipe(quoted);
    }
    // dd, one byte at a time: read(1) or head may take more of the pipe than they give, and the rest is the command's.
    built.line += "sh -c 'eval \"$(dd bs=1 count=" + std::to_string(built.preamble.size()) +
                  " 2>/dev/null)\" && exec \"$@\"' sh ";
  }
  built.line += core::shell_join(words);
  return built;
}

std::string kill_line(long group) {
  const std::string id = std::to_string(group);
  return "kill -s TERM -- -" + id + " 2>/dev/null || exit 0; i=0; while [ $i -lt 20 ]; do kill -s 0 -- -" + id +
         " 2>/dev/null || exit 0; sleep 0.1 || exit 1; i=$((i+1)); done; kill -s KILL -- -" + id +
         " 2>/dev/null || exit 0";
}

}  // namespace deployrun::ssh
