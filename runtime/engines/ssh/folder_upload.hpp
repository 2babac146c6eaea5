// A whole folder to a host as one tar stream: thousands of small files for the price of one command.
#pragma once

#include <memory>
#include <string>

#include "core/operation.hpp"
#include "ssh/exec.hpp"
#include "ssh/remote_file.hpp"
#include "ssh/tar.hpp"

namespace deployrun::ssh {

struct FolderOptions {
  std::string owner;          ///< "user", "user:group" of everything sent; empty: the login user
  bool make_parents = false;  ///< missing folders above it are made
  bool replace = false;       ///< the folder there gives way as a whole, in one moment; otherwise files are added to it
  OnProgress on_progress;
};

struct TransferredFolder {
  std::size_t files = 0;
  std::uint64_t bytes = 0;  ///< of their contents
  core::Milliseconds duration{0};
};

/// Modes and symlinks travel, owners do not. Everything is unpacked and counted beside the target first: a stream that
/// is cut changes nothing there. Kinds: `ssh.file` (a local one), `ssh.transfer` (details `code`, `stderr`), those of
/// Exec.
class FolderUpload final : public core::Operation<TransferredFolder> {
 public:
  /// Throws Failure (`usage`) for a path that cannot be.
  FolderUpload(std::shared_ptr<Session> session, std::string from, std::string path, FolderOptions options);
  ~FolderUpload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void send(Tree tree);
  void finish(core::Result<TransferredFolder> result);

  std::shared_ptr<Session> session_;
  std::string from_;
  std::string path_;
  FolderOptions options_;
  Done done_;
  core::Instant begun_{};
  ProgressMeter progress_;
  std::unique_ptr<core::Operation<Tree>> walk_;
  std::unique_ptr<Exec> exec_;
};

}  // namespace deployrun::ssh
