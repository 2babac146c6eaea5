// Forwards: what connects to one end comes out at the other. A local one listens on this machine and leads to what the
// server reaches; a remote one listens on the server and leads to what this machine reaches.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/bridge.hpp"
#include "core/operation.hpp"
#include "ssh/connector.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

/// A TCP address or, where `path` is not empty, a Unix socket.
struct Endpoint {
  std::string host;
  unsigned port = 0;
  std::string path;
  std::string text() const;
};

/// "/run/x.sock", "10.0.0.7:5432", "[::1]:80", ":8080" and "8080" (127.0.0.1). Port 0 only where `any_port`. Kind
/// `usage`.
core::Result<Endpoint> parse_endpoint(std::string_view text, bool any_port);

struct ForwardStats {
  std::uint64_t connections = 0;  ///< since it was opened
  std::size_t open = 0;           ///< now
  std::uint64_t failed = 0;       ///< ended with an error, or never reached the other end
  std::optional<core::Error> last_error;
};

/// Lives as long as somebody holds it and its session lasts; the last holder's end closes all its connections.
class Forward {
 public:
  virtual ~Forward() = default;
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  /// Where it listens, with the port that was chosen.
  const Endpoint& listens() const noexcept { return listens_; }
  const std::string& host() const noexcept { return session_->host(); }
  ForwardStats stats() const;
  /// No more connections, and the present ones end. Idempotent.
  virtual void close();

 protected:
  Forward(std::shared_ptr<Session> session, Endpoint listens)
      : session_(std::move(session)), listens_(std::move(listens)) {}
  /// A new connection. `join` gives the bridge its other side.
  void carry(int fd, const std::function<void(core::Bridge&)>& join);
  void failed(const core::Error& error);

  std::shared_ptr<Session> session_;
  Endpoint listens_;
  ForwardStats stats_;
  std::list<std::unique_ptr<core::Bridge>> bridges_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// Listens on this machine at once: a Unix socket with mode 0600, removed at the end. Kind `ssh.forward_listen`.
core::Result<std::shared_ptr<Forward>> forward_local(std::shared_ptr<Session> session, Endpoint listen, Destination to);

/// Asks the server to listen. Kinds: `ssh.forward_listen`, `ssh.lost`, `ssh.closed`, `cancelled`; `usage` for a Unix
/// socket there, which libssh2 1.11.1 cannot ask for.
class ForwardRemote final : public core::Operation<std::shared_ptr<Forward>> {
 public:
  ForwardRemote(std::shared_ptr<Session> session, Endpoint listen, Endpoint to)
      : session_(std::move(session)), listen_(std::move(listen)), to_(std::move(to)) {}
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  std::shared_ptr<Session> session_;
  Endpoint listen_;
  Endpoint to_;
  Done done_;
  std::shared_ptr<Forward> forward_;
};

}  // namespace deployrun::ssh
