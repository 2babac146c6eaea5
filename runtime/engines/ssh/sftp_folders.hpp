// Whole folders over SFTP, for servers without tar: the same archive as goes through a pipe elsewhere is made and taken
// apart on this side, with many small files under way at once.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/pool.hpp"
#include "core/tar.hpp"
#include "ssh/folder_download.hpp"
#include "ssh/folder_upload.hpp"
#include "ssh/sftp_work.hpp"

namespace deployrun::ssh {

/// As FolderUpload; the size of each file is compared before anything is put in its place. An owner's name is looked up
/// as SftpUpload does it.
class SftpFolderUpload final : public core::Operation<TransferredFolder>, private SftpWork {
 public:
  /// `path` is that of a FolderUpload.
  SftpFolderUpload(std::shared_ptr<Session> session, std::string from, std::string path, FolderOptions options);
  ~SftpFolderUpload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  struct File;
  void look();
  void looked(const sftp::Answer& answer);
  void make_room();
  void send();
  void begin(const core::TarMember& member);
  void open_files();
  void take(std::string_view bytes);
  void end_file();
  void write(const std::shared_ptr<File>& file);
  void finish_file(const std::shared_ptr<File>& file);
  void sent();
  void replace();
  void merge();
  void merge_files();
  void leave();
  void tidy() override;
  void over(std::optional<core::Error> error) override;

  std::string from_;
  std::string path_;
  FolderOptions options_;
  Done done_;
  core::Instant begun_{};
  ProgressMeter progress_;
  std::unique_ptr<core::Operation<Tree>> walk_;
  std::unique_ptr<core::Stream> source_;
  core::TarReader archive_;
  std::size_t files_ = 0;
  std::string temporary_;  // empty: nothing to take away
  std::string fresh_;      // in it
  bool exists_ = false;
  bool symlink_ = false;
  mode_t mode_ = 0755;
  std::optional<sftp::Owner> owner_;
  std::vector<core::TarMember> members_;
  std::shared_ptr<File> file_;                 // whose bytes come now
  std::deque<std::shared_ptr<File>> waiting_;  // to be opened
  std::size_t open_ = 0;
  std::uint64_t unwritten_ = 0;
  bool reading_ = false;
  bool ended_ = false;
};

/// As FolderDownload. What may not be is refused by the same Unpacker.
class SftpFolderDownload final : public core::Operation<TransferredFolder>, private SftpWork {
 public:
  SftpFolderDownload(std::shared_ptr<Session> session, std::string path, std::string to, UnpackOptions options,
                     OnProgress on_progress);
  ~SftpFolderDownload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  struct Entry;
  void work(std::function<core::Result<core::Unit>(Unpacker&)> job, std::function<void()> then);
  void listed(Listing listing);
  void read_ahead();
  void open(const std::shared_ptr<Entry>& entry);
  void pass();
  void commit();
  void over(std::optional<core::Error> error) override;

  std::string path_;
  std::shared_ptr<Unpacker> unpacker_;
  ProgressMeter progress_;
  Done done_;
  core::Instant begun_{};
  std::deque<std::shared_ptr<Entry>> entries_;  // not yet whole in the archive
  std::string archive_;                         // not yet taken by the unpacker
  bool unpacking_ = false;
  bool ended_ = false;
  std::unique_ptr<core::PoolJob<core::Unit>> job_;
};

}  // namespace deployrun::ssh
