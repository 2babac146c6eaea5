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

namespace deployrun::ssh {

struct OpenedFile {
  std::shared_ptr<Descriptor> file;
  std::uint64_t size = 0;
};

/// A regular file, for reading. Kind `ssh.file`.
std::unique_ptr<core::Operation<OpenedFile>> open_local_file(core::Loop& loop, std::string path);

/// Exactly `size` bytes of a file as a stream; a file that became shorter is an error `ssh.file`.
class FileSource final : public core::Stream {
 public:
  FileSource(core::Loop& loop, OpenedFile file, std::string path);
  void read(Read done) override;
  void write(std::string bytes, Written done) override;
  void end_write() override {}
  void close() noexcept override { job_.reset(); }

 private:
  core::Loop& loop_;
  OpenedFile file_;
  std::string path_;
  std::uint64_t offset_ = 0;
  std::unique_ptr<core::Operation<std::string>> job_;
};

/// A new file beside its final place; nothing is to be seen there before `commit`. Destroyed uncommitted, it is
/// removed.
class FileSink {
 public:
  using Done = std::function<void(core::Result<core::Unit>)>;
  FileSink(core::Loop& loop, std::string path);
  ~FileSink();
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  /// One call at a time; `done` never comes before it returns. Kind `ssh.file`.
  void open(Done done);
  void write(std::string bytes, Done done);
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
