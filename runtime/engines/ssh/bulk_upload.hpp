// A large file to a host: in a few runs at a time over channels of their own (one channel's window is 2 MiB per round
// trip with OpenSSH; near by one is enough, and cheaper), into a part beside the target that a later upload of the same
// file goes on with: it compares what is there chunk by chunk and sends what is missing. The whole is compared at the
// end by the SHA-256 of its two halves, which two processors work out at the same time: chunk by chunk, through pipes,
// that took the server three times as long.
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
  class SumsThere;
  /// SHA-256 of a file up to the chunk half() and from there on.
  struct Sums {
    std::string first, second;
    bool operator==(const Sums&) const = default;
    bool known() const { return !second.empty(); }
  };

  void prepare();
  void prepared(const ExecResult& ran);
  void compare(std::size_t chunk);
  void send_missing();
  void send(Worker& worker);
  void sent(Worker& worker, core::Result<ExecResult> ran);
  void hash();
  void hash_on(const std::shared_ptr<Sha256>& sum, std::size_t chunk);
  void hashed(const std::shared_ptr<Sha256>& sum, std::size_t chunk);
  void verify();
  void verified(const Sums& there);
  void commit();
  std::uint64_t size_of(std::size_t chunk) const;
  std::size_t half() const { return there_.size() / 2; }
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
  Sums sums_;  // of the file here; empty: not yet known
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
