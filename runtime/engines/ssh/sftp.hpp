// An SFTP client over whatever stream it is handed: as many requests in flight as its owner likes, each answered once.
//
// Not libssh2's: that one has a single place for the state of each kind of call, so that files go one after the other,
// a round trip or three each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/loop.hpp"
#include "core/stream.hpp"
#include "ssh/sftp_packet.hpp"

namespace deployrun::ssh {

class Sftp final : public std::enable_shared_from_this<Sftp> {
 public:
  /// A status that is not OK is an answer; an error is the end of the connection or `ssh.sftp`.
  using Done = std::function<void(core::Result<sftp::Answer>)>;

  Sftp(core::Loop& loop, std::unique_ptr<core::Stream> stream, std::string host);
  Sftp(const Sftp&) = delete;
  Sftp& operator=(const Sftp&) = delete;

  /// Asks for version 3. Once, before anything else. Kinds: `ssh.sftp` (another version, or no SFTP at all), those of
  /// the stream.
  void begin(std::function<void(core::Result<core::Unit>)> ready);
  /// `done` never comes before this returns; never, once the client is closed or gone.
  void ask(const sftp::Request& request, Done done);
  /// Whether the server knows an extension.
  bool can(const std::string& extension) const { return extensions_.contains(extension); }
  bool alive() const noexcept { return stream_ != nullptr && !over_; }
  /// What is unanswered stays so. Idempotent.
  void close() noexcept;

 private:
  void send();
  void receive();
  void take(core::Result<std::string> bytes);
  void answer(std::string_view packet);
  void fail(core::Error error);
  core::Error nonsense(const std::string& why) const;

  core::Loop& loop_;
  std::unique_ptr<core::Stream> stream_;
  std::string host_;
  std::function<void(core::Result<core::Unit>)> ready_;
  std::set<std::string> extensions_;
  sftp::Packets packets_;
  std::string out_;
  bool sending_ = false;
  std::uint32_t next_ = 1;
  std::map<std::uint32_t, Done> unanswered_;
  std::optional<core::Error> over_;
};

}  // namespace deployrun::ssh
