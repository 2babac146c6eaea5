// core::Stream over a channel: forwarded sockets, and the stdin and stdout of a command.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/operation.hpp"
#include "core/stream.hpp"
#include "ssh/remote_command.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

/// A direct-streamlocal or direct-tcpip channel. Errors: `ssh.lost`, `ssh.closed`, `cancelled`.
class ChannelStream final : public core::Stream, private Waiter {
 public:
  explicit ChannelStream(std::unique_ptr<Channel> channel);
  ~ChannelStream() override;

  void read(Read done) override;
  void write(std::string bytes, Written done) override;
  void end_write() override;
  void close() noexcept override;

 private:
  bool progress() override;
  void lost(const core::Error& error) override;
  bool send();
  bool receive();

  std::shared_ptr<Session> session_;
  std::unique_ptr<Channel> channel_;  // nullptr after close
  Read read_;
  Written written_;
  std::string output_;
  std::size_t taken_ = 0;
  bool ending_ = false;
  bool eof_sent_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A command as a stream: stdout is read, stdin written, the last 4 KiB of stderr kept for the error.
class ExecStream final : public core::Stream {
 public:
  ExecStream(std::shared_ptr<Session> session, const Command& command, Use use);
  ~ExecStream() override;

  void read(Read done) override;
  void write(std::string bytes, Written done) override;
  void end_write() override;
  void close() noexcept override;

 private:
  void serve();

  std::string what_;
  std::string host_;
  std::unique_ptr<RemoteCommand> command_;
  std::string input_;  // what came and was not asked for yet
  std::string stderr_;
  std::optional<core::Result<core::Unit>> end_;
  Read read_;
};

/// Opens a forwarded stream. Cancelled half-way, the session finishes the opening and closes the channel.
class OpenStream final : public core::Operation<std::unique_ptr<core::Stream>> {
 public:
  OpenStream(std::shared_ptr<Session> session, Destination destination)
      : session_(std::move(session)), destination_(std::move(destination)) {}
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  std::shared_ptr<Session> session_;
  Destination destination_;
  std::shared_ptr<void> request_;
  Done done_;
};

/// A subsystem of the server, such as "sftp". Kinds: as Session::open_channel, and `ssh.sftp` where there is none.
class OpenSubsystem final : public core::Operation<std::unique_ptr<core::Stream>>, private Waiter {
 public:
  OpenSubsystem(std::shared_ptr<Session> session, std::string name)
      : session_(std::move(session)), name_(std::move(name)) {}
  ~OpenSubsystem() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  bool progress() override;
  void lost(const core::Error& error) override;
  void finish(core::Result<std::unique_ptr<core::Stream>> result);

  std::shared_ptr<Session> session_;
  std::string name_;
  std::shared_ptr<void> request_;
  std::unique_ptr<Channel> channel_;
  Done done_;
};

}  // namespace deployrun::ssh
