// One connection per host and run, many channels. Opens them one at a time (libssh2 keeps that state in its session),
// within the number of sessions a server allows, and holds one spare open so that a command costs one round trip.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "core/operation.hpp"
#include "core/stream.hpp"
#include "ssh/quote.hpp"
#include "ssh/transport.hpp"

namespace deployrun::ssh {

class Listeners;
class RemoteCommand;
class Session;

/// Where a channel leads.
struct Destination {
  enum class Kind { session, streamlocal, tcp };
  Kind kind = Kind::session;
  std::string name;  ///< a socket's path, or a host as the server sees it
  unsigned port = 0;
};

/// What a channel is opened for. `urgent` goes first and may use the two sessions that a default server has beyond our
/// limit; `lasting` stays as long as the connection: nobody waits for its end.
enum class Use { usual, urgent, lasting };

/// An open channel. Given up, it is closed behind the scenes; nobody waits for that.
class Channel {
 public:
  Channel(std::shared_ptr<Session> session, LIBSSH2_CHANNEL* raw, bool slot, Use use = Use::usual)
      : session_(std::move(session)), raw_(raw), slot_(slot), use_(use) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  LIBSSH2_CHANNEL* raw() noexcept { return raw_; }
  Session& session() noexcept { return *session_; }
  Transport& transport() noexcept;
  /// As libssh2_channel_write, and LIBSSH2_ERROR_EAGAIN while enough is under way: sshd takes memory for what nobody
  /// has read yet and moves it, over and over, which costs it several times the transfer itself (measured with 9.2).
  /// What a fast line holds and kBacklog beside it are enough; from some 15 ms on the server's window is smaller than
  /// that.
  ssize_t write(const char* bytes, std::size_t size) noexcept;

 private:
  static constexpr std::size_t kBacklog = 256U << 10U;
  static constexpr double kFastLine = 128e6;  // bytes per second
  static constexpr std::chrono::seconds kPatience{1};

  bool has_enough() noexcept;

  std::shared_ptr<Session> session_;
  LIBSSH2_CHANNEL* raw_;
  bool slot_;
  Use use_;
  bool again_ = false;      // libssh2 wants the very same bytes once more
  std::size_t window_ = 0;  // the widest that the server has given
  bool limited_ = true;     // by kBacklog: until a server keeps its window closed longer than kPatience
  std::optional<core::Instant> enough_since_;
};

class Session final : public std::enable_shared_from_this<Session>, private Waiter {
 public:
  /// Session channels at most, the spare included: sshd's MaxSessions is 10 by default. Lowered when a server refuses.
  static constexpr std::size_t kChannelLimit = 8;
  using Opened = std::function<void(core::Result<std::unique_ptr<Channel>>)>;

  static std::shared_ptr<Session> create(std::shared_ptr<Transport> transport);
  /// The abrupt end, if `close` was not called.
  ~Session();

  Transport& transport() noexcept { return *transport_; }
  core::Loop& loop() noexcept { return transport_->loop(); }
  const std::string& host() const noexcept { return transport_->host(); }
  bool alive() const noexcept { return !transport_->over(); }

  /// `opened` is called once, never before this returns. Destroying the token before that gives the request up; what is
  /// half open by then is finished and kept or closed by the session.
  /// Kinds: `ssh.channel`, `ssh.forwarding_refused`, `ssh.forward_connect`, `ssh.lost`, `ssh.closed`.
  /// Openings go one after the other: a tcp destination that does not answer holds up those behind it until the
  /// server gives up. A session that could be had only at the end of lasting ones is refused.
  std::shared_ptr<void> open_channel(Destination destination, Opened opened, Use use = Use::usual);

  /// Whether the request of this token is being answered now, and not waiting behind others.
  bool opening(const std::shared_ptr<void>& token) const noexcept {
    return current_ != nullptr && current_.get() == token.get();
  }

  /// So many commands will follow soon: once a stream has been opened, a session channel for each goes ahead of further
  /// streams, of which only the first may be waited for. Nobody waits for these.
  void prepare_commands(std::size_t count);

  /// A stream to a socket or a TCP port that the server connects to.
  std::unique_ptr<core::Operation<std::unique_ptr<core::Stream>>> open_stream(Destination destination);
  /// The same as a factory that keeps the session alive.
  core::Dial dial(Destination destination);
  /// A command's stdin and stdout as a stream (`docker system dial-stdio`). Its end with a code other than 0 is an
  /// error `ssh.exec` with `code` and `stderr`; closing the stream ends the command.
  core::Dial dial_exec(Command command, Use use = Use::usual);

  /// Whether it was found that no shell is to be had: what can do without one need not try again.
  bool without_shell() const noexcept { return without_shell_; }
  void know_without_shell() noexcept { without_shell_ = true; }

  /// What the server listens on for us.
  Listeners& listeners();

  /// Ends a remote process group in the background, as far as the connection lasts.
  void end_group(long group);

  /// Everything still going on fails with `ssh.closed`; the server is told goodbye. Idempotent.
  void close();

 private:
  friend class Channel;
  struct Request {
    Destination destination;
    Opened opened;  // empty: a spare, or given up
    int refusals = 0;
    Use use = Use::usual;
    bool ahead = false;  // a spare beyond the usual one
  };

  explicit Session(std::shared_ptr<Transport> transport);
  bool progress() override;
  void lost(const core::Error& error) override;
  bool hand_out();
  bool pick();
  bool pick_spare(bool ahead);
  bool room(const Request& request) const noexcept;
  bool hopeless() const noexcept;
  LIBSSH2_CHANNEL* try_open(const Destination& destination);
  void deliver(LIBSSH2_CHANNEL* raw);
  void refused();
  core::Error refusal(const Request& request) const;
  core::Error taken() const;
  void retire(LIBSSH2_CHANNEL* raw, bool slot, Use use);

  std::shared_ptr<Transport> transport_;
  std::deque<std::shared_ptr<Request>> waiting_;
  std::shared_ptr<Request> current_;
  std::deque<LIBSSH2_CHANNEL*> spares_;
  bool wanted_ = false;      // a session channel was asked for, so a spare may be of use
  std::size_t ahead_ = 0;    // so many spares go ahead of streams
  bool streams_ = false;     // one was opened
  std::size_t used_ = 0;     // session channels: in use, spare, being opened, being closed
  std::size_t lasting_ = 0;  // of them, those whose end nobody waits for
  std::size_t most_ = 0;     // as many were open at once
  std::size_t limit_ = kChannelLimit;
  core::Timer retry_;
  bool resting_ = false;  // after a refusal that will pass
  bool without_shell_ = false;
  std::list<std::unique_ptr<RemoteCommand>> killers_;
  std::unique_ptr<Listeners> listeners_;
};

}  // namespace deployrun::ssh
