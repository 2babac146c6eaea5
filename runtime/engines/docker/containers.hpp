// Containers: their life, what they are, what they say, commands inside them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/queue.hpp"
#include "docker/client.hpp"
#include "docker/frames.hpp"
#include "docker/spec.hpp"

namespace deployrun::docker {

struct Created {
  std::string id;
  std::vector<std::string> warnings;
};

/// `docker.not_found` where the image is not there, `docker.conflict` where the name is taken.
Op<Created> create_container(ClientPtr client, const ContainerSpec& spec);
/// False: it was running already.
Op<bool> start_container(ClientPtr client, const std::string& name);
/// The stop signal, then after `grace` SIGKILL. False: it was stopped already. Without `grace` the container's own.
Op<bool> stop_container(ClientPtr client, const std::string& name, std::optional<std::chrono::seconds> grace = {});
/// `signal` as "TERM" or "SIGTERM"; `docker.conflict` where it is not running.
Op<core::Unit> kill_container(ClientPtr client, const std::string& name, const std::string& signal = "KILL");
/// Freezes every process of a container where it stands; `docker.conflict` where it does not run or is frozen already.
Op<core::Unit> pause_container(ClientPtr client, const std::string& name);
/// Lets it go on; `docker.conflict` (before Docker 23 `docker.engine`) where it is not frozen.
Op<core::Unit> unpause_container(ClientPtr client, const std::string& name);
Op<core::Unit> restart_container(ClientPtr client, const std::string& name,
                                 std::optional<std::chrono::seconds> grace = {});
Op<core::Unit> rename_container(ClientPtr client, const std::string& name, const std::string& new_name);
/// With `force` a running one is killed first; with `volumes` its anonymous volumes go too.
Op<core::Unit> remove_container(ClientPtr client, const std::string& name, bool force = false, bool volumes = false);
/// docs/api/docker.md: `docker.container`.
Op<Json> inspect_container(ClientPtr client, const std::string& name);

struct ListOptions {
  bool all = false;                 ///< stopped ones too
  std::vector<std::string> labels;  ///< "name" or "name=value"; all of them
  std::string name;                 ///< the whole name
  std::vector<std::string> states;  ///< created, running, exited …; any of them
};
Op<Json> list_containers(ClientPtr client, const ListOptions& options);

/// Its exit code, once it is "not-running" (at once where it is not), "next-exit" or "removed".
Op<int> wait_container(ClientPtr client, const std::string& name, const std::string& condition = "not-running");

struct LogOptions {
  std::optional<int> tail = 100;  ///< lines from the end; nothing: all
  std::string since;              ///< RFC 3339 or seconds since 1970; empty: from the beginning
  bool timestamps = false;
};
struct Logs {
  std::string text;  ///< both streams in the engine's order
  std::string out;
  std::string err;
  bool truncated = false;  ///< the end is missing beyond 16 MiB
};
Op<Logs> logs(ClientPtr client, const std::string& name, const LogOptions& options = {});

struct LogLine {
  Source source = Source::out;
  std::string text;  ///< without its end; at most 64 KiB
};
/// Logs as they are written. Begins when made, ends with the container, `close` or its destruction.
class Follow {
 public:
  Follow(ClientPtr client, const std::string& name, const LogOptions& options);
  ~Follow();
  Follow(const Follow&) = delete;
  Follow& operator=(const Follow&) = delete;

  /// Lines, then nothing; or the error that ended the stream.
  const std::shared_ptr<core::Queue<LogLine>>& lines() const noexcept { return lines_; }
  void close();

 private:
  std::shared_ptr<core::Queue<LogLine>> lines_;
  std::unique_ptr<Answer> answer_;
};

struct ExecOptions {
  std::map<std::string, std::string> env;
  std::string user;
  std::string workdir;
  std::string prepared;  ///< what prepare_exec gave for the same command: it is started, one answer earlier
  bool ask_code = true;  ///< false: returns with the end of the output, one answer earlier; exec_code tells the code
};
struct ExecResult {
  std::string id;  ///< what the engine calls it
  std::string out;
  std::string err;
  std::optional<int> code;  ///< nothing where it was not asked
  double ms = 0;
  bool truncated = false;  ///< output beyond 16 MiB was dropped
};
/// Runs `argv` inside the running container, without a shell. A code other than 0 is a result. Cancelled, the command
/// goes on in the container: the engine has no call that ends it. Fails with `docker.conflict` where the container is
/// not running.
Op<ExecResult> exec(ClientPtr client, const std::string& name, const std::vector<std::string>& argv,
                    const ExecOptions& options = {});
/// Tells the engine of a command (Engine API 1.41, ContainerExec) that nothing runs yet: an exec with `prepared` does.
/// One that is never started goes with its container.
Op<std::string> prepare_exec(ClientPtr client, const std::string& name, const std::vector<std::string>& argv,
                             const ExecOptions& options = {});
/// The exit code of a command whose output has ended. Fails with `docker.lost` where it still runs: its output was cut.
Op<int> exec_code(ClientPtr client, const std::string& id);

/// The commands that were started in the container and that the engine still knows: [{ id, argv[], running, code }].
Op<Json> list_execs(ClientPtr client, const std::string& name);

}  // namespace deployrun::docker
