// What a server listens on for us (RFC 4254 §7.1): asking for it, taking in what connects there, giving it back.
// One question at a time: libssh2 keeps its state in the session, and the server's answers name no question.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ssh/session.hpp"

namespace deployrun::ssh {

/// Belongs to its session.
class Listeners final : private Waiter {
 public:
  /// The port that the server listens on. Kinds: `ssh.forward_listen`, `ssh.lost`, `ssh.closed`.
  using Opened = std::function<void(core::Result<unsigned>)>;
  using Accepted = std::function<void(std::unique_ptr<Channel>)>;

  explicit Listeners(Session& session);
  ~Listeners();
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  /// `opened` is called once, never before this returns; `accepted` for each connection from then on. Destroying the
  /// token ends both. Port 0: one that is free.
  std::shared_ptr<void> open(std::string host, unsigned port, Opened opened, Accepted accepted);

 private:
  struct Entry;

  bool progress() override;
  void lost(const core::Error& error) override;
  bool ask();
  bool ask_next();
  void answered(core::Result<unsigned> port);
  bool serve(Entry& entry);

  Session& session_;
  std::deque<std::shared_ptr<Entry>> waiting_;
  std::shared_ptr<Entry> current_;
  std::vector<std::shared_ptr<Entry>> open_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::ssh
