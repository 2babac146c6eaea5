// A large file to a host: in a few runs at a time over channels of their own (one channel's window is 2 MiB per round
// trip with OpenSSH), into a part beside the target that a later upload of the same file goes on with: it compares what
// is there chunk by chunk and sends what is missing. The whole is compared by its SHA-256 at the end, by one program
// that reads the part itself: chunk by chunk, through pipes, that took the server three times as long.
//
// Invariant: the target is replaced only when the whole was compared and the part is still the very file that was
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
  /// What a later upload compares at once.
  static constexpr std::uint64_t kChunk = 4U << 20U;
  /// Larger files travel this way.
  static constexpr std::uint64_t kFrom = 16U << 20U;
  static constexpr std::size_t kChannels = 4;

  /// `path` is safe (safe_path). Kinds: as Upload.
  BulkUpload(std::shared_ptr<Session> session, OpenedFile file, std::string from, std::string path, PutOptions options);
  ~BulkUpload() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  struct Worker;

  void prepare();
  void prepared(const ExecResult& ran);
  void compare(std::size_t chunk);
  void send_missing();
  void send(Worker& worker);
  void sent(Worker& worker, core::Result<ExecResult> ran);
  void hash();
  void hash_on(const std::shared_ptr<Sha256>& sum, std::size_t chunk);
  void verify();
  void verified(const std::string& there);
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
  std::vector<std::string> there_;    // the SHA-256 that the part has of a chunk from an earlier time
  std::vector<std::size_t> missing_;  // chunks to be sent, in order
  std::vector<std::unique_ptr<Worker>> workers_;
  int tries_ = 0;
  std::string sum_;  // of the whole file here; empty: not yet known
  std::unique_ptr<core::Operation<std::string>> hash_;
  std::unique_ptr<core::Operation<core::Unit>> adding_;
  bool hashing_ = false;
  bool waiting_ = false;        // all is sent, the sum is still to come
  std::unique_ptr<Exec> exec_;  // prepare, verify, commit, and taking the part away
  std::unique_ptr<core::Operation<core::Unit>> check_;
  std::optional<core::Error> error_;
  bool drop_ = false;
};

}  // namespace deployrun::ssh
