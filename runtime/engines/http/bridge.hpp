// One end of a local connection that libcurl made, joined to a core::Stream: how HTTP is spoken through an SSH channel.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/loop.hpp"
#include "core/stream.hpp"

namespace deployrun::http {

/// Dials, and carries bytes both ways until one side ends. Either side may come first: what libcurl sends before the
/// dial is done waits in the socket; a stream that is open before libcurl wants one waits too, and is over when it
/// ends. Destroyed, it stops in silence.
class Bridge {
 public:
  /// Why it ended: nothing for a plain end of stream or libcurl closing its side. `dialled` is false where the stream
  /// never opened.
  using Ended = std::function<void(Bridge&, std::optional<core::Error>, bool dialled)>;

  /// `ended` comes exactly once, maybe inside `dial` or `attach`, and must not destroy the bridge before it returns to
  /// the loop.
  Bridge(core::Loop& loop, Ended ended);
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  void dial(const core::Dial& dial);
  /// Takes libcurl's side, non-blocking. Once.
  void attach(int fd);

 private:
  void dialled(core::Result<std::unique_ptr<core::Stream>> stream);
  void poll();
  void on_events(int status, int events);
  void send();     // from libcurl to the stream
  void receive();  // from the stream, while libcurl's side has room
  void flush();    // to libcurl
  void end(std::optional<core::Error> error);
  void release() noexcept;

  core::Loop& loop_;
  Ended ended_;
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;  // nullptr: nothing attached yet
  int events_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<void> dialling_;
  std::unique_ptr<core::Stream> stream_;
  std::string inbound_;
  std::size_t flushed_ = 0;
  bool open_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool receiving_ = false;  // inside receive(): a stream that answers at once must not recurse
  bool again_ = false;
  bool at_end_ = false;
  bool over_ = false;
};

}  // namespace deployrun::http
