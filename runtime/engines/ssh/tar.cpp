#include "ssh/tar.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <utility>

#include "core/tar.hpp"

namespace deployrun::ssh {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 512U << 10U;

core::Error file_error(const std::string& path, const std::string& why) {
  return {.kind = "ssh.file", .message = "local file " + path + ": " + why};
}

void pad(std::string& out) { out.append(core::tar_padding(out.size()), '\0'); }

core::Result<TreeEntry> look(const std::string& root, std::string name) {
  const std::string path = root + "/" + name;
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return file_error(path, std::strerror(errno));
  TreeEntry entry{.name = std::move(name), .mode = status.st_mode & 07777U, .modified = status.st_mtim.tv_sec};
  if (S_ISREG(status.st_mode)) {
    entry.size = static_cast<std::uint64_t>(status.st_size);
  } else if (S_ISDIR(status.st_mode)) {
    entry.type = TreeEntry::Type::folder;
  } else if (S_ISLNK(status.st_mode)) {
    entry.type = TreeEntry::Type::symlink;
    std::error_code wrong;
    entry.target = fs::read_symlink(path, wrong).string();
    if (wrong) return file_error(path, wrong.message());
  } else {
    return file_error(path, "neither a file nor a folder nor a symlink");
  }
  return entry;
}

core::Result<core::Unit> walk(Tree& tree, const std::string& below) {
  const std::string folder = below.empty() ? tree.folder : tree.folder + "/" + below;
  std::error_code wrong;
  std::vector<std::string> names;
  for (fs::directory_iterator at(folder, wrong), end; !wrong && at != end; at.increment(wrong))
    names.push_back(at->path().filename().string());
  if (wrong) return file_error(folder, wrong.message());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (tree.entries.size() >= kTreeEntriesLimit)
      return file_error(tree.folder, "more than " + std::to_string(kTreeEntriesLimit) + " entries");
    auto entry = look(tree.folder, below.empty() ? name : below + "/" + name);
    if (!entry) return entry.error();
    const bool deeper = entry->type == TreeEntry::Type::folder;
    const std::string path = entry->name;
    if (entry->type == TreeEntry::Type::file) {
      tree.bytes += entry->size;
      ++tree.files;
    }
    tree.entries.push_back(std::move(entry).value());
    if (!deeper) continue;
    if (auto below_it = walk(tree, path); !below_it) return below_it;
  }
  return core::Unit{};
}

}  // namespace

core::Result<Tree> read_tree(const std::string& folder) {
  Tree tree;
  tree.folder = folder;
  while (tree.folder.size() > 1 && tree.folder.back() == '/') tree.folder.pop_back();
  if (auto walked = walk(tree, ""); !walked) return walked.error();
  return tree;
}

std::string tar_header(const TreeEntry& entry, const std::string& below) {
  const bool folder = entry.type == TreeEntry::Type::folder;
  // Owners stay at home: everything becomes the receiving account's.
  return core::tar_header({.name = "./" + (below.empty() ? "" : below + "/") + entry.name + (folder ? "/" : ""),
                           .type = folder                                   ? '5'
                                   : entry.type == TreeEntry::Type::symlink ? '2'
                                                                            : '0',
                           .target = entry.target,
                           .size = entry.size,
                           .mode = entry.mode,
                           .modified = entry.modified});
}

core::Result<core::Unit> TarWriter::begin(const TreeEntry& entry, std::string& out) {
  TreeEntry now = entry;
  if (entry.type == TreeEntry::Type::file) {
    const std::string path = tree_.folder + "/" + entry.name;
    file_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (file_.get() < 0 || ::fstat(file_.get(), &status) != 0) return file_error(path, std::strerror(errno));
    if (!S_ISREG(status.st_mode)) return file_error(path, "it is no file any more");
    left_ = now.size = static_cast<std::uint64_t>(status.st_size);
  }
  out += tar_header(now, place_.below);
  return core::Unit{};
}

void TarWriter::first(std::string& out) const {
  if (place_.below.empty()) return;
  out +=
      tar_header({.name = place_.below, .type = TreeEntry::Type::folder, .mode = 0755, .modified = std::time(nullptr)});
}

void TarWriter::last(std::string& out) const {
  if (!place_.mark.empty()) out += tar_header({.name = place_.mark, .mode = 0600, .modified = std::time(nullptr)});
  out += core::tar_end();
}

core::Result<core::Unit> TarWriter::copy(std::string& out) {
  const std::size_t before = out.size();
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece));
  out.resize(before + count);
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got = ::read(file_.get(), out.data() + before + have, count - have);
    if (got < 0 && errno == EINTR) continue;
    const std::string path = tree_.folder + "/" + tree_.entries[at_ - 1].name;
    if (got < 0) return file_error(path, std::strerror(errno));
    if (got == 0) return file_error(path, "it became shorter while it was sent");
    have += static_cast<std::size_t>(got);
  }
  left_ -= count;
  bytes_ += count;
  if (left_ == 0) {
    file_ = Descriptor();
    pad(out);
  }
  return core::Unit{};
}

core::Result<std::string> TarWriter::next() {
  std::string out;
  if (!std::exchange(begun_, true)) first(out);
  while (out.size() < kPiece && !ended_) {
    if (left_ > 0) {
      if (auto copied = copy(out); !copied) return copied.error();
    } else if (at_ < tree_.entries.size()) {
      if (auto begun = begin(tree_.entries[at_++], out); !begun) return begun.error();
    } else {
      last(out);
      ended_ = true;
    }
  }
  return out;
}

}  // namespace deployrun::ssh
