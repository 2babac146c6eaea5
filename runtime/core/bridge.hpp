// One end of a local connection joined to a Stream: how a library that wants a socket of its own (libcurl, libssh2), or
// somebody who connected to a forwarded port, speaks through an SSH channel or a program's pipes.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/loop.hpp"
#include "core/stream.hpp"

namespace deployrun::core {

/// Dials, and carries bytes both ways until it ends. Either side may come first: what is sent before the dial is done
/// waits in the socket; a stream that is open before there is a socket waits too, and is over when it ends. Destroyed,
/// it stops in silence.
class Bridge {
 public:
  /// When it is over.
  enum class Ends {
    either,  ///< when one side ends: libraries close only what they are done with
    both,    ///< when both sides have ended: the end of one is passed on, the other may go on speaking
  };
  /// How it ended: nothing for a plain end of stream or of the socket. `dialled` is false where the stream never
  /// opened.
  using Ended = std::function<void(Bridge&, std::optional<Error>, bool dialled)>;

  /// `ended` comes exactly once, maybe inside `dial`, `join` or `attach`, and must not destroy the bridge before it
  /// returns to the loop.
  Bridge(Loop& loop, Ends ends, Ended ended);
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  void dial(const Dial& dial);
  /// Instead, where the stream is there already.
  void join(std::unique_ptr<Stream> stream);
  /// Takes the socket, non-blocking. Once.
  void attach(int fd);

 private:
  void dialled(Result<std::unique_ptr<Stream>> stream);
  void poll();
  void on_events(int status, int events);
  void send();     // from the socket to the stream
  void receive();  // from the stream, while the socket has room
  void flush();    // to the socket
  void socket_ended();
  void stream_ended();
  void end(std::optional<Error> error);
  void release() noexcept;

  Loop& loop_;
  Ends ends_;
  Ended ended_;
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;  // nullptr: nothing attached yet
  int events_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<void> dialling_;
  std::unique_ptr<Stream> stream_;
  std::string inbound_;
  std::size_t flushed_ = 0;
  bool open_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool receiving_ = false;  // inside receive(): a stream that answers at once must not recurse
  bool again_ = false;
  bool at_end_ = false;       // the stream has given its last byte …
  bool stream_over_ = false;  // … and the socket has got it
  bool socket_over_ = false;  // the socket will give nothing more
  bool over_ = false;
};

}  // namespace deployrun::core
