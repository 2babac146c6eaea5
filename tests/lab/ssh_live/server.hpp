// A real sshd of our own: its folder, its keys, its port on 127.0.0.1. All of it goes with the object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "ssh/connect.hpp"
#include "ssh/exec.hpp"

namespace live {

using namespace deployrun;

/// A folder under the temporary one, removed with all in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Runs a program to its end and returns its code; its output goes nowhere.
int run_program(const std::vector<std::string>& argv, const std::string& out = "/dev/null");
std::string slurp(const std::string& path);
void spill(const std::string& path, const std::string& text);
unsigned free_port();

class Server {
 public:
  /// `extra` are further lines for sshd_config, which win over ours.
  explicit Server(const std::vector<std::string>& extra = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Kills the listener and every connection's process, at once.
  void kill_all();
  /// Stops them all (SIGSTOP): the kernel still answers, they do not.
  void stop_all();
  pid_t pid() const { return pid_; }
  std::string log() const;

  Folder folder;
  unsigned port = 0;

  /// Its host keys written down, our ed25519 key, no agent, no ~/.ssh/config.
  ssh::ConnectOptions options() const;
  void know_host(const std::string& file, const std::string& key_type) const;
  void authorize(const std::string& public_key_file) const;

 private:
  pid_t pid_ = -1;
  std::unique_ptr<std::thread> reader_;
  std::shared_ptr<std::string> text_;
};

/// Runs the loop until `done` is true; throws after `limit`.
void run_until(core::Loop& loop, const bool& done, std::chrono::milliseconds limit = std::chrono::seconds(120));

/// Runs an operation to its end on the loop.
template <class T>
core::Result<T> wait(core::Loop& loop, core::Operation<T>& operation,
                     std::chrono::milliseconds limit = std::chrono::seconds(120)) {
  bool done = false;
  std::optional<core::Result<T>> result;
  operation.start([&](core::Result<T> value) {
    result.emplace(std::move(value));
    done = true;
    loop.stop();
  });
  run_until(loop, done, limit);
  return std::move(*result);
}

core::Result<std::shared_ptr<ssh::Session>> connect(core::Loop& loop, ssh::ConnectOptions options);
/// Connects or fails the test.
std::shared_ptr<ssh::Session> session(core::Loop& loop, const Server& server);
core::Result<ssh::ExecResult> exec(core::Loop& loop, const std::shared_ptr<ssh::Session>& session,
                                   ssh::ExecOptions options);
core::Result<ssh::ExecResult> exec(core::Loop& loop, const std::shared_ptr<ssh::Session>& session,
                                   std::vector<std::string> argv);
core::Result<ssh::ExecResult> shell(core::Loop& loop, const std::shared_ptr<ssh::Session>& session, std::string line);

}  // namespace live
