// A connection that is no TCP connection of ours: a channel through a jump host, or a program (ProxyCommand). The
// transport gets one end of a socket pair; what carries it holds the other.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/bridge.hpp"
#include "core/operation.hpp"
#include "core/stream.hpp"
#include "ssh/connector.hpp"

namespace deployrun::ssh {

class Carrier {
 public:
  /// Joins the stream to a socket. The carrier is in the result, and lasts as long as somebody holds it.
  static core::Result<Connected> join(core::Loop& loop, std::unique_ptr<core::Stream> stream, std::string address);

  explicit Carrier(core::Loop& loop);
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

  /// Why it ended, where that was no plain end.
  const std::optional<core::Error>& failure() const noexcept { return failure_; }

 private:
  std::optional<core::Error> failure_;
  core::Bridge bridge_;
};

/// Runs OpenSSH's ProxyCommand: its standard input and output are the connection. `command` is a line for the shell, as
/// ssh_config(5) says, its tokens expanded. Kinds: `process.spawn`.
class ProxyCommand final : public core::Operation<Connected> {
 public:
  ProxyCommand(core::Loop& loop, std::string command) : loop_(loop), command_(std::move(command)) {}
  void start(Done done) override;
  void cancel() noexcept override {}

 private:
  core::Loop& loop_;
  std::string command_;
};

}  // namespace deployrun::ssh
