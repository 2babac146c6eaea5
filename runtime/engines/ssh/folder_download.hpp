// A whole folder of a host as one tar stream.
#pragma once

#include <memory>
#include <string>

#include "core/operation.hpp"
#include "ssh/folder_upload.hpp"
#include "ssh/unpack.hpp"

namespace deployrun::ssh {

/// Modes, times and symlinks travel, owners do not. Everything is unpacked beside `to` first: a stream that is cut or
/// holds what may not be (Unpacker) changes nothing there. Kinds: `ssh.not_found`, `ssh.transfer`, `ssh.file`, those of
/// Exec.
class FolderDownload final : public core::Operation<TransferredFolder> {
 public:
  FolderDownload(std::shared_ptr<Session> session, std::string path, std::string to, UnpackOptions options,
                 OnProgress on_progress);
  ~FolderDownload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace deployrun::ssh
