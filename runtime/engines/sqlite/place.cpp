#include "sqlite/place.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace deployrun::sqlite {

namespace {

// linux/magic.h and the file systems' own headers; FUSE is refused because nearly all of it is somebody else's disk.
constexpr std::array<std::pair<unsigned long, const char*>, 10> kForeign = {{{0x6969, "NFS"},
                                                                             {0x517B, "SMB"},
                                                                             {0xFF534D42, "CIFS"},
                                                                             {0xFE534D42, "SMB2"},
                                                                             {0x01021997, "9P"},
                                                                             {0x00C36400, "Ceph"},
                                                                             {0x5346414F, "AFS"},
                                                                             {0x65735546, "FUSE"},
                                                                             {0x47504653, "GPFS"},
                                                                             {0x0BD00BD0, "Lustre"}}};

core::Error cannot_open(const std::string& path, const std::string& why) {
  return {.kind = "sqlite.open", .message = "open " + path + ": " + why, .hint = "check the path"};
}

}  // namespace

core::Result<std::string> check_place(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    const fs::path wanted(path);
    if (fs::is_symlink(fs::symlink_status(wanted, error)) || !wanted.has_filename()) {
      return cannot_open(path, "it leads nowhere");
    }
    real = fs::canonical(wanted.has_parent_path() ? wanted.parent_path() : fs::path("."), error);
    if (!error) real /= wanted.filename();
  }
  if (error) return cannot_open(path, error.message());
  if (fs::is_directory(real, error)) return cannot_open(path, "it is a folder");

  struct statfs found {};
  const fs::path there = fs::exists(real, error) ? real : real.parent_path();
  if (::statfs(there.c_str(), &found) != 0) return cannot_open(path, std::strerror(errno));
  // Some of these numbers are negative as the kernel's signed type has them.
  const auto type = static_cast<unsigned long>(found.f_type) & 0xFFFFFFFFUL;
  for (const auto& [number, name] : kForeign) {
    if (type != number) continue;
    core::Error refused{.kind = "sqlite.network_filesystem",
                        .message = "open " + path + ": it lies on a network file system (" + name + ")",
                        .hint = "SQLite's locks do not hold there; keep the database on a disk of its own machine"};
    refused.details["filesystem"] = std::string(name);
    return refused;
  }
  return real.string();
}

core::Result<Space> space_of(const std::string& path) {
  auto real = check_place(path);
  if (!real) return std::move(real).error();
  Space space;
  for (const char* part : {"", "-wal", "-journal"}) {
    struct stat file {};
    if (::stat((*real + part).c_str(), &file) == 0) space.bytes += file.st_size;
  }
  struct statvfs disk {};
  const std::string folder = std::filesystem::path(*real).parent_path().string();
  if (::statvfs(folder.c_str(), &disk) != 0) return cannot_open(path, std::strerror(errno));
  space.free = static_cast<std::int64_t>(disk.f_bavail) * static_cast<std::int64_t>(disk.f_frsize);
  return space;
}

}  // namespace deployrun::sqlite
