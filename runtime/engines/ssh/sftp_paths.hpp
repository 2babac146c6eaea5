// What is at a path, and taking it away, over SFTP: for servers without a shell or its programs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ssh/sftp_work.hpp"

namespace deployrun::ssh {

struct PathInfo {
  enum class Type { file, folder, symlink, other };
  Type type = Type::other;
  std::uint64_t size = 0;
  mode_t mode = 0;    ///< without the bits of the type
  std::string user;   ///< the name that the server's /etc/passwd has, as far as it is to be seen; else the number
  std::string group;  ///< the same with /etc/group
};

/// What is there, or nothing. A symlink is not followed. Kinds: `ssh.transfer`, `ssh.sftp`, those of Session.
class SftpStat final : public core::Operation<std::optional<PathInfo>>, private SftpWork {
 public:
  /// Throws Failure (`usage`) for a path that cannot be.
  SftpStat(std::shared_ptr<Session> session, const std::string& path);
  ~SftpStat() override = default;
  void start(Done done) override;
  void cancel() noexcept override { stop(); }

 private:
  void over(std::optional<core::Error> error) override;

  std::string path_;
  std::optional<PathInfo> found_;
  Done done_;
};

/// Removes a file, a symlink or an empty folder; with `recursive` all in it. True when it was there. Kinds as SftpStat.
class SftpRemove final : public core::Operation<bool>, private SftpWork {
 public:
  /// Throws Failure (`usage`) for a path that cannot be.
  SftpRemove(std::shared_ptr<Session> session, const std::string& path, bool recursive);
  ~SftpRemove() override = default;
  void start(Done done) override;
  void cancel() noexcept override { stop(); }

 private:
  void looked(const sftp::Answer& answer);
  void over(std::optional<core::Error> error) override;

  std::string path_;
  bool recursive_;
  bool removed_ = false;
  Done done_;
};

}  // namespace deployrun::ssh
