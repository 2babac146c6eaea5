#include "ssh/unpack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/files.hpp"
#include "core/text.hpp"
#include "ssh/tar.hpp"

namespace deployrun::ssh {
namespace {

namespace fs = std::filesystem;

core::Error file_error(const std::string& path, const std::string& why) {
  return {.kind = "ssh.file", .message = "local file " + path + ": " + why};
}

/// The names on the way to a member; nothing where one of them may not be.
std::optional<std::vector<std::string>> steps_of(const std::string& name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string::npos) return {};
  std::vector<std::string> steps;
  for (const std::string_view step : core::split(name, '/')) {
    if (step == "..") return {};
    if (!step.empty() && step != ".") steps.emplace_back(step);
  }
  return steps;
}

/// Whether a symlink so deep in the folder stays in it: it may go up at its beginning only, no higher than the folder.
/// With that no chain of such links leads out either, for each of them starts at a real folder.
bool stays_inside(const std::string& target, std::size_t depth) {
  if (target.empty() || target.front() == '/' || target.find('\0') != std::string::npos) return false;
  bool down = false;
  for (const std::string_view step : core::split(target, '/')) {
    if (step.empty() || step == ".") continue;
    if (step != "..") {
      down = true;
    } else if (down || depth-- == 0) {
      return false;
    }
  }
  return true;
}

/// Moves what is in one folder into another, file over file, folder into folder.
core::Result<core::Unit> merge(const fs::path& from, const fs::path& to) {
  std::error_code wrong;
  std::vector<fs::path> names;
  for (fs::directory_iterator at(from, wrong), end; !wrong && at != end; at.increment(wrong))
    names.push_back(at->path().filename());
  for (const fs::path& name : names) {
    const auto there = fs::symlink_status(to / name, wrong).type();
    if (fs::symlink_status(from / name, wrong).type() == fs::file_type::directory &&
        there != fs::file_type::not_found) {
      if (there != fs::file_type::directory) return file_error((to / name).string(), "something else than a folder");
      if (auto below = merge(from / name, to / name); !below) return below;
      continue;
    }
    fs::rename(from / name, to / name, wrong);
    if (wrong) return file_error((to / name).string(), wrong.message());
  }
  return core::Unit{};
}

}  // namespace

Unpacker::Unpacker(std::string path, UnpackOptions options)
    : path_(std::move(path)),
      options_(options),
      reader_({.member = [this](const core::TarMember& member, std::string_view) { begin(member); },
               .data = [this](std::string_view bytes) { take(bytes); },
               .end = [this] { end(); }},
              "ssh.file") {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  folder_ = core::folder_of(path_);
}

core::Result<core::Unit> Unpacker::open() {
  struct stat there {};
  if (!options_.replace && ::stat(path_.c_str(), &there) == 0 && !S_ISDIR(there.st_mode))
    return file_error(path_, "something else than a folder is there");
  std::string name = (folder_ == "/" ? "" : folder_) + "/.deployrun.XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return file_error(path_, std::strerror(errno));
  fresh_ = name;
  root_ = Descriptor(::open(fresh_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (root_.get() < 0) return file_error(path_, std::strerror(errno));
  modes_.push_back({".", 0755});
  return core::Unit{};
}

core::Result<core::Unit> Unpacker::expect(std::uint64_t bytes) const {
  if (bytes > options_.limit)
    return file_error(path_, "more than " + std::to_string(options_.limit) + " bytes are to come");
  struct statvfs disk {};
  if (::fstatvfs(root_.get(), &disk) == 0 && bytes / std::max(disk.f_frsize, 1UL) > disk.f_bavail)
    return file_error(path_, "no room for " + std::to_string(bytes) + " bytes");
  return core::Unit{};
}

core::Result<core::Unit> Unpacker::feed(std::string_view bytes) {
  if (!error_) {
    if (auto fed = reader_.feed(bytes); !fed && !error_) error_ = fed.error();
  }
  if (error_) return *error_;
  return core::Unit{};
}

void Unpacker::fail(const std::string& name, const std::string& why) {
  if (!error_) error_ = file_error(path_, "\"" + core::clean(name) + "\" from the server: " + why);
}

std::optional<Unpacker::Place> Unpacker::place_of(const std::string& name) {
  const auto steps = steps_of(name);
  if (!steps) {
    fail(name, "such a name leads out of the folder");
    return {};
  }
  Place place{Descriptor(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0)), steps->empty() ? "" : steps->back()};
  std::string way;
  for (std::size_t i = 0; i + 1 < steps->size(); ++i) {
    const char* step = (*steps)[i].c_str();
    way += (way.empty() ? "" : "/") + (*steps)[i];
    if (::mkdirat(place.folder.get(), step, 0700) == 0) modes_.push_back({way, 0755});
    Descriptor next(::openat(place.folder.get(), step, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (next.get() < 0) {
      fail(name, "the way there is no folder");
      return {};
    }
    place.folder = std::move(next);
  }
  return place;
}

void Unpacker::begin(const core::TarMember& member) {
  if (error_) return;
  if (++entries_ > kTreeEntriesLimit) return fail(member.name, "too many entries");
  if (bytes_ + member.size > options_.limit || bytes_ + member.size < bytes_)
    return fail(member.name, "more than " + std::to_string(options_.limit) + " bytes");
  const auto place = place_of(member.name);
  if (!place) return;
  member_ = member;
  if (place->name.empty() && member.type != '5') return fail(member.name, "no folder where one belongs");
  // What came before under this name gives way, unless it is a folder.
  if (member.type != '5') ::unlinkat(place->folder.get(), place->name.c_str(), 0);
  switch (member.type) {
    case '0':
    case '7': return make_file(member, *place);
    case '5': return make_folder(member, *place);
    case '2': return make_symlink(member, *place);
    case '1': return make_hard_link(member, *place);
    default: fail(member.name, "neither a file nor a folder nor a link");
  }
}

void Unpacker::make_folder(const core::TarMember& member, const Place& place) {
  if (!place.name.empty() && ::mkdirat(place.folder.get(), place.name.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(member.name, std::strerror(errno));
  modes_.push_back({member.name, member.mode & 0777U});
}

void Unpacker::make_file(const core::TarMember& member, const Place& place) {
  file_ = Descriptor(
      ::openat(place.folder.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file_.get() < 0) return fail(member.name, std::strerror(errno));
  ++files_;
}

void Unpacker::make_symlink(const core::TarMember& member, const Place& place) {
  const std::size_t depth = steps_of(member.name)->size() - 1;
  if (!stays_inside(member.target, depth))
    return fail(member.name, "it links to \"" + core::clean(member.target) + "\", out of the folder");
  if (::symlinkat(member.target.c_str(), place.folder.get(), place.name.c_str()) != 0)
    fail(member.name, std::strerror(errno));
}

void Unpacker::make_hard_link(const core::TarMember& member, const Place& place) {
  const auto original = place_of(member.target);
  struct stat status {};
  if (!original) return;
  if (::fstatat(original->folder.get(), original->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISREG(status.st_mode))
    return fail(member.name, "it is a link to no file");
  if (::linkat(original->folder.get(), original->name.c_str(), place.folder.get(), place.name.c_str(), 0) != 0)
    return fail(member.name, std::strerror(errno));
  ++files_;
  bytes_ += static_cast<std::uint64_t>(status.st_size);  // as the server counts them
}

void Unpacker::take(std::string_view bytes) {
  while (!error_ && !bytes.empty()) {
    const ssize_t count = ::write(file_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(member_.name, std::strerror(errno));
    bytes.remove_prefix(static_cast<std::size_t>(count));
    bytes_ += static_cast<std::uint64_t>(count);
  }
}

void Unpacker::end() {
  if (error_ || file_.get() < 0) return;
  const std::array<timespec, 2> times = {timespec{0, UTIME_OMIT}, timespec{member_.modified, 0}};
  if (::fchmod(file_.get(), member_.mode & 0777U) != 0 || ::futimens(file_.get(), times.data()) != 0)
    fail(member_.name, std::strerror(errno));
  file_ = Descriptor();
}

core::Result<core::Unit> Unpacker::commit() {
  if (error_) return *error_;
  if (!reader_.complete()) return file_error(path_, "what came from the server was cut off");
  // What is deeper first, as long as the way there is open. The last word counts: an archive may name a folder twice.
  std::set<std::vector<std::string>> done;
  for (auto at = modes_.rbegin(); at != modes_.rend(); ++at) {
    if (!done.insert(*steps_of(at->name)).second) continue;
    const auto place = place_of(at->name);
    if (!place) return *error_;
    const Descriptor folder(::openat(place->folder.get(), place->name.empty() ? "." : place->name.c_str(),
                                     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (folder.get() >= 0) ::fchmod(folder.get(), at->mode);
  }
  if (error_) return *error_;
  return into_place();
}

core::Result<core::Unit> Unpacker::into_place() {
  struct stat there {};
  if (::lstat(path_.c_str(), &there) != 0) {
    if (std::rename(fresh_.c_str(), path_.c_str()) != 0) return file_error(path_, std::strerror(errno));
    fresh_.clear();
    return core::Unit{};
  }
  if (!options_.replace) return merge(fresh_, path_);
  // In one moment; what was there is then under the fresh name, and discarded.
  if (::renameat2(AT_FDCWD, fresh_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0)
    return file_error(path_, std::strerror(errno));
  return core::Unit{};
}

void Unpacker::discard() noexcept {
  if (fresh_.empty()) return;
  std::error_code wrong;
  fs::remove_all(fresh_, wrong);
  fresh_.clear();
}

}  // namespace deployrun::ssh
