// A folder of this machine as a tar stream (POSIX.1-2001: ustar with pax headers where a name or size does not fit),
// made while it is sent. Blocks: for pool jobs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "ssh/handles.hpp"

namespace deployrun::ssh {

struct TreeEntry {
  enum class Type { file, folder, symlink };
  std::string name;  ///< below the folder, without "./": "css/site.css"
  Type type = Type::file;
  mode_t mode = 0;
  std::uint64_t size = 0;  ///< of files
  std::int64_t modified = 0;
  std::string target;  ///< of symlinks
};

struct Tree {
  std::string folder;
  std::vector<TreeEntry> entries;  ///< a folder before what is in it, otherwise by name
  std::uint64_t bytes = 0;
  std::size_t files = 0;
};

inline constexpr std::size_t kTreeEntriesLimit = 1'000'000;

/// Everything below a folder. Kind `ssh.file`: it cannot be read, holds more than kTreeEntriesLimit entries, or
/// something that is no file, folder or symlink.
core::Result<Tree> read_tree(const std::string& folder);

/// One header block, with a pax header before it where it takes one. `below`: a folder that the entry is put in.
std::string tar_header(const TreeEntry& entry, const std::string& below = {});

/// Where a tree is put in the archive's place.
struct TarPlace {
  std::string below;  ///< a folder, made by the archive; empty: the place itself
  std::string mark;   ///< an empty file, the last member: where it is, everything arrived; empty: none
};

class TarWriter {
 public:
  explicit TarWriter(Tree tree, TarPlace place = {}) : tree_(std::move(tree)), place_(std::move(place)) {}
  /// The next bytes, some 512 KiB; empty at the end. Kind `ssh.file`.
  core::Result<std::string> next();
  const Tree& tree() const noexcept { return tree_; }
  /// Of files' contents, so far.
  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  core::Result<core::Unit> begin(const TreeEntry& entry, std::string& out);
  core::Result<core::Unit> copy(std::string& out);

  void first(std::string& out) const;
  void last(std::string& out) const;

  Tree tree_;
  TarPlace place_;
  std::size_t at_ = 0;
  Descriptor file_;  // the entry before at_, while `left_` of it is to be sent
  std::uint64_t left_ = 0;
  std::uint64_t bytes_ = 0;
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace deployrun::ssh
