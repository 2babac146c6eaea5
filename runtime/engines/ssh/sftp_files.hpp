// Single files over SFTP, for servers without a shell or its tools: written beside the target, read back and compared,
// renamed over it in one moment.
#pragma once

#include <memory>
#include <string>

#include "ssh/sftp_reader.hpp"
#include "ssh/sftp_work.hpp"
#include "ssh/transfer.hpp"

namespace deployrun::ssh {

/// As Upload, with two differences: what arrived of a large file before the connection was lost is not gone on with,
/// and an owner's name is looked up in the server's /etc/passwd and /etc/group, as far as they are to be seen. Where
/// the server cannot replace a file in one moment (posix-rename@openssh.com), only new files are written.
class SftpUpload final : public core::Operation<Transferred>, private SftpWork {
 public:
  /// `path` is safe (safe_path).
  SftpUpload(std::shared_ptr<Session> session, Upload::FromFile from, std::string path, PutOptions options);
  SftpUpload(std::shared_ptr<Session> session, std::string bytes, std::string path, PutOptions options);
  ~SftpUpload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void look();
  void create();
  void send();
  void sent();
  void read_back();
  void settle_attributes();
  void check_source();
  void into_place();
  void tidy() override;
  void over(std::optional<core::Error> error) override;

  std::optional<std::string> from_;
  std::string bytes_;
  std::string path_;
  PutOptions options_;
  Done done_;
  core::Instant begun_{};
  ProgressMeter progress_;
  std::unique_ptr<core::Operation<OpenedFile>> open_;
  std::unique_ptr<core::Operation<core::Unit>> check_;
  OpenedFile file_;
  std::unique_ptr<core::Stream> source_;
  std::shared_ptr<Sha256> sum_ = std::make_shared<Sha256>();
  std::uint64_t size_ = 0;
  bool replaces_ = false;
  std::optional<sftp::Owner> old_owner_;
  std::optional<sftp::Owner> new_owner_;
  mode_t mode_ = 0644;
  std::string temporary_;  // empty: nothing to take away
  std::string handle_;
  std::uint64_t offset_ = 0;     // written up to here
  std::uint64_t unwritten_ = 0;  // of these so many are not yet confirmed
  bool reading_ = false;
  bool ended_ = false;
  std::optional<Sha256> back_;
  std::unique_ptr<SftpReader> reader_;
};

/// As Download, but that an earlier part is not gone on with; compared by size.
class SftpDownload final : public core::Operation<Transferred>, private SftpWork {
 public:
  SftpDownload(std::shared_ptr<Session> session, std::string path, std::string to, OnProgress on_progress);
  ~SftpDownload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void fetch(const sftp::Attributes& attributes);
  void pass();
  void commit();
  void over(std::optional<core::Error> error) override;

  std::string path_;
  FileSink sink_;
  ProgressMeter progress_;
  Done done_;
  core::Instant begun_{};
  std::unique_ptr<SftpReader> reader_;
  std::string pending_;
  mode_t mode_ = 0;
  std::uint64_t size_ = 0;
  bool from_start_ = true;
  bool busy_ = false;
  bool ended_ = false;
};

/// As ReadFile.
class SftpReadFile final : public core::Operation<std::string>, private SftpWork {
 public:
  SftpReadFile(std::shared_ptr<Session> session, std::string path, std::size_t limit);
  ~SftpReadFile() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void over(std::optional<core::Error> error) override;

  std::string path_;
  std::size_t limit_;
  std::string bytes_;
  std::unique_ptr<SftpReader> reader_;
  Done done_;
};

}  // namespace deployrun::ssh
