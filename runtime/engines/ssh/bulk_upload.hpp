// A large file to a host: in chunks, several at a time over channels of their own (one channel's window is 2 MiB per
// round trip with OpenSSH), each compared by its SHA-256 on the other side, into a part beside the target that a later
// upload of the same file goes on with.
//
// Invariant: the target is replaced only when every chunk was compared and the part is still the very file that was
// written (its inode), so that two uploads of one file can get in each other's way but never mix.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "ssh/exec.hpp"
#include "ssh/local_file.hpp"
#include "ssh/remote_file.hpp"
#include "ssh/transfer.hpp"

namespace deployrun::ssh {

class BulkUpload final : public core::Operation<Transferred> {
 public:
  static constexpr std::uint64_t kChunk = 16U << 20U;
  /// Larger files travel this way.
  static constexpr std::uint64_t kFrom = kChunk;
  static constexpr std::size_t kChannels = 4;

  /// `path` is safe (safe_path). Kinds: as Upload.
  BulkUpload(std::shared_ptr<Session> session, OpenedFile file, std::string from, std::string path, PutOptions options);
  ~BulkUpload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  struct Worker;
  struct Chunk {
    std::string there;  ///< the SHA-256 that the part has here from an earlier time; empty: nothing
    int tries = 0;
  };

  void prepared(const ExecResult& ran);
  void next(Worker& worker);
  void compare(Worker& worker);
  void send(Worker& worker);
  void sent(Worker& worker, core::Result<ExecResult> ran);
  void chunk_done(Worker& worker);
  void commit();
  std::uint64_t size_of(std::size_t chunk) const;
  core::Error refusal(const ExecResult& ran) const;
  /// Stops everything; the part stays for the next time unless `drop`.
  void fail(core::Error error, bool drop = false);
  void settle();
  void finish(core::Result<Transferred> result);

  std::shared_ptr<Session> session_;
  OpenedFile file_;
  std::string from_;
  std::string path_;
  PutOptions options_;
  std::string part_;
  std::string inode_;
  Done done_;
  core::Instant begun_{};
  ProgressMeter progress_;
  std::vector<Chunk> chunks_;
  std::size_t next_ = 0;
  std::size_t left_ = 0;  // chunks not yet compared
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Exec> exec_;  // prepare, commit, and taking the part away
  std::unique_ptr<core::Operation<core::Unit>> check_;
  std::optional<core::Error> error_;
  bool drop_ = false;
};

}  // namespace deployrun::ssh
