// A tar stream from somewhere else as a folder of this machine. Nobody vouches for what is in it: a name that is
// absolute or leads up, a link out of the folder, a device, more than was allowed: all refused, and nothing is left.
// Blocks: for pool jobs, one at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "core/tar.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

struct UnpackOptions {
  bool replace = false;     ///< the folder there gives way as a whole; otherwise files are added to it
  std::uint64_t limit = 0;  ///< bytes of files' contents at most
};

/// Files, folders, symlinks and hard links are written into a new folder beside `path`, never through a symlink; owners
/// and the bits above 0777 stay behind. Kind of all errors: `ssh.file`.
class Unpacker {
 public:
  Unpacker(std::string path, UnpackOptions options);
  ~Unpacker() { discard(); }
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  core::Result<core::Unit> open();
  /// Whether so many bytes may come at all: the limit, and the room on the disk.
  core::Result<core::Unit> expect(std::uint64_t bytes) const;
  core::Result<core::Unit> feed(std::string_view bytes);
  /// Gives the folders their modes and puts all in its place.
  core::Result<core::Unit> commit();
  /// Removes what is not in its place.
  void discard() noexcept;
  std::uint64_t bytes() const noexcept { return bytes_; }
  std::size_t files() const noexcept { return files_; }

 private:
  struct Place {
    Descriptor folder;
    std::string name;  // empty: the folder itself
  };
  struct FolderMode {
    std::string name;
    mode_t mode;
  };

  void begin(const core::TarMember& member);
  void take(std::string_view bytes);
  void end();
  void fail(const std::string& name, const std::string& why);
  std::optional<Place> place_of(const std::string& name);
  void make_folder(const core::TarMember& member, const Place& place);
  void make_file(const core::TarMember& member, const Place& place);
  void make_symlink(const core::TarMember& member, const Place& place);
  void make_hard_link(const core::TarMember& member, const Place& place);
  core::Result<core::Unit> into_place();

  std::string path_;
  UnpackOptions options_;
  std::string folder_;  // that path_ is in
  std::string fresh_;   // empty once nothing is left of it
  Descriptor root_;
  core::TarReader reader_;
  std::optional<core::Error> error_;
  std::vector<FolderMode> modes_;
  Descriptor file_;  // being written
  core::TarMember member_;
  std::uint64_t bytes_ = 0;
  std::size_t files_ = 0;
  std::size_t entries_ = 0;
};

}  // namespace deployrun::ssh
