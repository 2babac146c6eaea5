// The local end of a transfer: read and written on the pool, piece by piece, never whole.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/stream.hpp"
#include "ssh/handles.hpp"
#include "ssh/sha256.hpp"

namespace deployrun::ssh {

struct OpenedFile {
  std::shared_ptr<Descriptor> file;
  std::uint64_t size = 0;
  std::string identity;  ///< differs once the file is another or was written to
};

/// A regular file, for reading. Kind `ssh.file`.
std::unique_ptr<core::Operation<OpenedFile>> open_local_file(core::Loop& loop, std::string path);

/// The SHA-256 of a part of it. Kind `ssh.file`.
std::unique_ptr<core::Operation<std::string>> hash_of_range(core::Loop& loop, OpenedFile file, std::string path,
                                                            std::uint64_t offset, std::uint64_t size);
/// Adds a part of it to a sum, which nobody else is at meanwhile. Kind `ssh.file`.
std::unique_ptr<core::Operation<core::Unit>> add_range(core::Loop& loop, OpenedFile file, std::string path,
                                                       std::uint64_t offset, std::uint64_t size,
                                                       std::shared_ptr<Sha256> sum);
/// An error `ssh.file` where the open file is no longer what it was when it was opened.
std::unique_ptr<core::Operation<core::Unit>> unchanged(core::Loop& loop, OpenedFile file, std::string path);

/// Exactly the given bytes of a file as a stream; a file that became shorter is an error `ssh.file`.
class FileSource final : public core::Stream {
 public:
  /// The whole file.
  FileSource(core::Loop& loop, OpenedFile file, std::string path);
  /// A part of it, which is added to `sum` on its way where there is one.
  FileSource(core::Loop& loop, OpenedFile file, std::string path, std::uint64_t offset, std::uint64_t size,
             std::shared_ptr<Sha256> sum = nullptr);
  std::function<void(std::size_t bytes)> on_read;
  void read(Read done) override;
  void write(std::string bytes, Written done) override;
  void end_write() override {}
  void close() noexcept override { job_.reset(); }

 private:
  core::Loop& loop_;
  OpenedFile file_;
  std::string path_;
  std::uint64_t offset_ = 0;
  std::uint64_t end_;
  std::shared_ptr<Sha256> sum_;
  std::unique_ptr<core::Operation<std::string>> job_;
};

/// A new file beside its final place; nothing is to be seen there before `commit`. Destroyed uncommitted, it is
/// removed, unless it is a part of kKeepFrom bytes or more: the next sink of the same place and origin finds that.
class FileSink {
 public:
  using Done = std::function<void(core::Result<core::Unit>)>;
  /// Less is not worth keeping.
  static constexpr std::uint64_t kKeepFrom = 16U << 20U;

  /// `origin` says what is written, the same words for the same thing.
  FileSink(core::Loop& loop, std::string path, std::string origin);
  ~FileSink();
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  /// One call at a time; `done` never comes before it returns. Kind `ssh.file`.
  void open(Done done);
  /// What an earlier sink left, and its SHA-256 (none: empty); after `open`.
  std::uint64_t kept() const noexcept;
  const std::string& kept_sum() const noexcept;
  /// Appends. With `from_start` what was kept is dropped first.
  void write(std::string bytes, bool from_start, Done done);
  /// The SHA-256 of all that is in it; once, between the last write and `commit`.
  std::string sum();
  /// It is of no use to anybody: removed with the sink.
  void drop() noexcept;
  /// Sets the mode, syncs and renames over the final place.
  void commit(mode_t mode, Done done);

 private:
  struct File;
  void run(std::function<core::Result<core::Unit>(File&)> work, Done done);

  core::Loop& loop_;
  std::shared_ptr<File> file_;
  std::unique_ptr<core::Operation<core::Unit>> job_;
};

}  // namespace deployrun::ssh
