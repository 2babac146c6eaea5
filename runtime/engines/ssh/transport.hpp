// One SSH connection: the socket, our own buffers in front of libssh2, and everybody who waits for it.
//
// libssh2 is asked, never waited for: each waiter repeats its call whenever something has moved. Invariants:
// * The send callback takes every byte at once, so libssh2 never holds a half-sent packet and no call is bound to be
//   repeated by its caller (STYLE.md §6). Whoever writes much asks `congested` first.
// * After any call that moved something all waiters are tried again before the loop sleeps: each call may have put
//   other channels' packets into libssh2's queue.
// * The end of the connection is told to libssh2 only at teardown. Until then waiters get whatever had arrived before
// it.
#pragma once

#include <libssh2.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/loop.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

class Carrier;

/// Somebody with an unfinished libssh2 call.
class Waiter {
 public:
  /// Goes as far as it can. True when anything moved. May end waiters, channels and the connection itself.
  virtual bool progress() = 0;
  /// The connection is over; called once, instead of any further `progress`.
  virtual void lost(const core::Error& error) = 0;

 protected:
  ~Waiter() = default;
};

class Transport final : public std::enable_shared_from_this<Transport> {
 public:
  /// Writers stop above this many bytes not yet taken by the kernel.
  static constexpr std::size_t kCongested = 1U << 20U;
  /// A silent peer is probed every kProbe and given up after kSilence (bound by REQUIREMENTS: 45 s).
  static constexpr core::Milliseconds kProbe{15000};
  static constexpr core::Milliseconds kSilence{40000};

  /// `host` is the name that errors carry.
  Transport(core::Loop& loop, Descriptor socket, std::string host, std::shared_ptr<Carrier> carrier = nullptr);
  /// The abrupt end: what libssh2 holds is freed at once, unsent bytes are dropped.
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  core::Loop& loop() noexcept { return loop_; }
  LIBSSH2_SESSION* raw() noexcept { return session_; }
  int fd() const noexcept { return socket_.get(); }
  const std::string& host() const noexcept { return host_; }
  /// Why it is over; nothing while it lives.
  const std::optional<core::Error>& over() const noexcept { return over_; }
  bool congested() const noexcept { return out_.size() - sent_ >= kCongested; }

  /// A waiter is tried until it is removed. Both may be called from inside `progress`.
  void add(Waiter* waiter);
  void remove(Waiter* waiter) noexcept;
  /// Tries everybody now (or, from inside `progress`, once more) and sends what came of it.
  void pump();
  /// Tries everybody on the next turn of the loop.
  void pump_later();

  /// The first bytes from the peer, as far as `parse_hello` needs them; until `keep_alive`.
  const std::string& greeting() const noexcept { return greeting_; }
  /// libssh2_session_handshake. It fails with a `refusal()` where the server's methods are refused (methods.hpp):
  /// libssh2 does not get to see them. Ours are to be offered before.
  int shake_hands();
  const std::string& refusal() const noexcept { return refusal_; }
  /// Probes the peer from now on (after login).
  void keep_alive();
  /// Hands a channel over to be closed and freed; `freed` runs when the server has closed its side too.
  void retire(LIBSSH2_CHANNEL* channel, std::function<void()> freed);
  /// Says goodbye as far as the kernel takes it at once, then ends with `reason`.
  void close(core::Error reason);
  /// Ends it: all waiters get `error`.
  void fail(core::Error error);

  /// libssh2's last error as one of ours. The text is copied: it belongs to the session.
  core::Error last_error(std::string kind, const std::string& what) const;
  /// Whether this return code means that the connection itself is gone.
  static bool fatal(long code) noexcept;
  core::Error lost_error(const std::string& why) const;

  /// To be called when something goes out that is worth nothing before its answer: an opening, a command, a request.
  void ask() noexcept { asking_ = true; }
  /// How often an answer was waited for: the login's every exchange, then the first bytes to come in after something
  /// that `ask` announced has gone out. A command on an open connection is one; several at once share theirs.
  std::uint64_t round_trips() const noexcept { return round_trips_; }
  /// The shortest wait for such an answer so far: the round-trip time, and what the server took for it.
  core::Instant::duration round_trip_time() const noexcept { return shortest_wait_; }
  /// Of a near server: a channel's window (2 MiB with OpenSSH) in each such time is more than a gigabyte a second.
  static constexpr std::chrono::microseconds kNear{1500};
  /// After the login. OpenSSH opens a channel's window again as soon as 96 KiB were read; others wait for more.
  bool is_openssh() const noexcept { return is_openssh_; }
  /// Answers to our probes that libssh2 1.11.1 keeps in its queue for ever: they come before the answer to the next
  /// global request.
  std::uint64_t unread_replies() const noexcept { return probes_; }
  std::uint64_t bytes_in() const noexcept { return bytes_in_; }
  std::uint64_t bytes_out() const noexcept { return bytes_out_; }

 private:
  struct Retired {
    LIBSSH2_CHANNEL* channel;
    std::function<void()> freed;
  };

  static ssize_t on_send(libssh2_socket_t socket, const void* buffer, size_t length, int flags, void** abstract);
  static ssize_t on_recv(libssh2_socket_t socket, void* buffer, size_t length, int flags, void** abstract);
  ssize_t receive(void* buffer, std::size_t length);
  bool acceptable();
  void fill();
  void flush();
  bool pass();
  bool reap();
  void on_poll(int status, int events);
  void watch();
  void probe();
  void arm_probe();

  core::Loop& loop_;
  Descriptor socket_;
  std::string host_;
  LIBSSH2_SESSION* session_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  int watching_ = 0;

  std::shared_ptr<Carrier> carrier_;
  std::string greeting_;
  std::string refusal_;
  std::optional<std::size_t> packets_at_;  // where in greeting_ the first packet begins
  std::size_t handed_ = 0;                 // bytes that libssh2 has got, until login
  bool accepted_ = false;                  // the server's methods
  std::string in_;                         // from the socket, not yet taken by libssh2
  std::size_t taken_ = 0;
  std::string out_;  // from libssh2, not yet taken by the kernel
  std::size_t sent_ = 0;
  int broken_ = 0;      // errno of the socket
  bool ended_ = false;  // the peer has ended the stream
  bool dead_ = false;   // teardown: libssh2 is told the end

  std::list<Waiter*> waiters_;
  std::list<Retired> retired_;
  bool pumping_ = false;
  bool again_ = false;
  bool later_ = false;
  std::optional<core::Error> over_;

  core::Timer probe_timer_;
  core::Instant heard_{};
  std::optional<core::Instant> probed_;  // when the oldest unanswered probe went out
  bool asking_ = false;                  // among what is not sent yet is something to be answered
  bool asked_ = false;                   // it went out, and nothing has come in since
  bool login_ = true;                    // everything is to be answered
  std::uint64_t round_trips_ = 0;
  bool is_openssh_ = false;
  core::Instant asked_at_{};
  core::Instant::duration shortest_wait_ = core::Instant::duration::max();
  std::uint64_t probes_ = 0;  // sent
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
};

}  // namespace deployrun::ssh
