// Files to and from a host, over exec channels: works wherever a POSIX shell is, needs no subsystem. Written atomically
// at both ends (a new file in the same folder, then rename), streamed, size checked.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/operation.hpp"
#include "ssh/exec.hpp"
#include "ssh/local_file.hpp"
#include "ssh/remote_file.hpp"
#include "ssh/session.hpp"

namespace deployrun::ssh {

struct PutOptions {
  std::optional<mode_t> mode;  ///< unset: the replaced file's, else 0644
  std::string owner;           ///< "user", "user:group"; empty: the replaced file's where we may, else the login user's
  bool make_parents = false;   ///< missing folders above it are made (0755 less the umask)
  OnProgress on_progress;      ///< of files; some ten times a second
};

struct Transferred {
  std::uint64_t bytes = 0;
  mode_t mode = 0;  ///< of the remote file
  core::Milliseconds duration{0};
};

/// A local file or bytes to a remote path; a relative path begins at the login user's home. A symlink there is
/// replaced, not followed. A file is compared by its SHA-256 before it takes its place (by its size where a small one
/// goes to a host without any tool for that). Kinds: `ssh.file` (the local one), `ssh.transfer` (details `code`,
/// `stderr`), `ssh.directory`, those of Exec. Whatever goes wrong, the old file stays. What arrived of a file above
/// BulkUpload::kFrom before the connection was lost or the upload cancelled stays too, and the next upload of the same
/// file goes on there; any other part is removed.
class Upload final : public core::Operation<Transferred> {
 public:
  struct FromFile {
    std::string path;
  };
  Upload(std::shared_ptr<Session> session, FromFile from, std::string path, PutOptions options);
  Upload(std::shared_ptr<Session> session, std::string bytes, std::string path, PutOptions options);
  ~Upload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void opened(OpenedFile file);
  void send(ExecOptions exec, std::uint64_t size, const std::string& sum);
  void finish(core::Result<Transferred> result);

  std::shared_ptr<Session> session_;
  std::optional<std::string> from_;
  std::string bytes_;
  std::string path_;
  PutOptions options_;
  Done done_;
  ProgressMeter progress_;
  std::unique_ptr<core::Operation<OpenedFile>> open_;
  std::unique_ptr<core::Operation<std::string>> hash_;
  std::unique_ptr<core::Operation<Transferred>> bulk_;
  std::unique_ptr<Exec> exec_;
};

/// A remote file to a local path, with its permission bits; compared by its SHA-256 where the host has a tool for that,
/// else by its size. Kinds: `ssh.not_found`, `ssh.directory`, `ssh.transfer`,
/// `ssh.file`, those of Exec. What arrived of a file above FileSink::kKeepFrom before the connection was lost stays
/// beside the target, and the next download of the same file to the same place goes on there, if the host still has
/// those bytes. A file that grows meanwhile is taken up to the size it had at first.
class Download final : public core::Operation<Transferred> {
 public:
  Download(std::shared_ptr<Session> session, std::string path, std::string to, OnProgress on_progress = {});
  ~Download() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

/// A small remote file's bytes. Kinds: `ssh.not_found`, `ssh.directory`, `ssh.output_limit`, `ssh.transfer`.
class ReadFile final : public core::Operation<std::string> {
 public:
  ReadFile(std::shared_ptr<Session> session, std::string path, std::size_t limit);
  void start(Done done) override;
  void cancel() noexcept override { exec_->cancel(); }

 private:
  std::string path_;
  std::string host_;
  std::unique_ptr<Exec> exec_;
};

}  // namespace deployrun::ssh
