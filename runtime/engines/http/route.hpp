// A way to a server that is not a plain socket of this machine: every connection is a stream that a core::Dial opens.
//
// libcurl wants a socket that it connects itself (7.88 connects even one that CURL_SOCKOPT_ALREADY_CONNECTED says it
// need not, and fails; abstract sockets and socket pairs it does not reuse). So a route listens on a socket file of its
// own, only for the moment from libcurl's wish to its arrival, and lets nobody in but this process.
#pragma once

#include <uv.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "core/bridge.hpp"
#include "core/loop.hpp"
#include "core/stream.hpp"

namespace deployrun::http {

/// Made by Client::route, shared by the requests that use it. Its connections are kept alive and reused among them, and
/// by nobody else. Destroying the last holder closes its streams.
class Route {
 public:
  /// `spares`: once a connection is there, so many more are kept dialled that nobody uses yet. The next requests that
  /// find all others busy, or used up by an answer that ended its connection, do not wait for a dial.
  Route(core::Loop& loop, core::Dial dial, std::size_t spares);
  ~Route();
  Route(const Route&) = delete;
  Route& operator=(const Route&) = delete;

  /// The socket file's path, unique to this route: what libcurl tells its connections from others by.
  const std::string& path() const noexcept { return path_; }
  /// Opens the door for one connection; returns the socket to connect to `path()`, owned by the caller, or -1 (errno).
  int expect_connection();

  /// Why a connection of this route ended, if one did with an error after `mark()` gave `since`.
  struct Failure {
    core::Error error;
    bool dialled;  ///< false: the stream never opened
  };
  std::uint64_t mark() const noexcept { return ended_; }
  std::optional<Failure> failure_since(std::uint64_t since) const;
  /// Streams open or being dialled now, the spares included, and dialled in all.
  std::size_t connections() const noexcept { return bridges_.size(); }
  std::uint64_t dials() const noexcept { return dials_; }

 private:
  void serve(int socket);
  core::Bridge& add_bridge();
  void prepare_spares();
  core::Dial followed(std::function<void(bool opened)> then);
  bool open_door();
  void close_door() noexcept;
  void accept();
  void ended(core::Bridge& bridge, std::optional<core::Error> error, bool dialled);

  core::Loop& loop_;
  core::Dial dial_;
  std::size_t wanted_spares_;
  core::Bridge* preparing_ = nullptr;  // a spare that is being dialled
  std::deque<core::Bridge*> spares_;   // of bridges_, the first dialled first
  std::string path_;
  int door_ = -1;
  uv_poll_t* poll_ = nullptr;
  std::size_t expected_ = 0;
  std::list<std::unique_ptr<core::Bridge>> bridges_;
  std::uint64_t ended_ = 0;
  std::uint64_t failed_at_ = 0;
  std::uint64_t dials_ = 0;
  std::optional<Failure> failure_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace deployrun::http
