// The front door: what a recipe says about a host, to a session.
#pragma once

#include <memory>

#include "core/operation.hpp"
#include "core/process.hpp"
#include "ssh/client.hpp"
#include "ssh/config.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

/// Asks OpenSSH for its configuration where it is installed, then logs in; knocks again, less and less often, where a
/// server hangs up before it has said a word (MaxStartups). Kinds: `usage`, `ssh.config` and those of Login.
class Connect final : public core::Operation<std::shared_ptr<Session>> {
 public:
  Connect(core::Loop& loop, std::shared_ptr<Client> client, ConnectOptions options);
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void log_in(std::string_view configuration);
  void attempt();
  bool again(const core::Error& error);
  void finish(core::Result<std::shared_ptr<Session>> result);

  core::Loop& loop_;
  std::shared_ptr<Client> client_;
  ConnectOptions options_;
  Done done_;
  std::unique_ptr<core::Process> process_;
  std::unique_ptr<core::Operation<std::shared_ptr<Session>>> login_;
  std::optional<Target> target_;
  core::Timer pause_;
  core::Instant begun_{};
  int attempts_ = 0;
  bool cancelled_ = false;
};

}  // namespace deployrun::ssh
