// The authentication agent (draft-miller-ssh-agent) on its socket, without ever blocking the loop: libssh2's own agent
// calls stand still while the agent thinks (PERF.md §6).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/result.hpp"

namespace deployrun::ssh {

struct AgentKey {
  std::string blob;
  std::string comment;
};

/// One connection; requests are answered in order. Destroyed, no callback comes any more. Errors of kind `ssh.agent`.
class Agent {
 public:
  Agent(core::Loop& loop, std::string path);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  void list(std::function<void(core::Result<std::vector<AgentKey>>)> done);
  /// The inner signature over `data`; `flags` 2 and 4 ask for rsa-sha2-256 and -512.
  void sign(const std::string& blob, const std::string& data, std::uint32_t flags,
            std::function<void(core::Result<std::string>)> done);

 private:
  struct Link;
  using Answer = std::function<void(core::Result<std::string>)>;
  void request(const std::string& body, Answer answer);

  std::shared_ptr<Link> link_;
};

/// The answers' contents; pure. Kind `ssh.agent`.
core::Result<std::vector<AgentKey>> parse_agent_keys(std::string_view answer);
core::Result<std::string> parse_agent_signature(std::string_view answer);

}  // namespace deployrun::ssh
