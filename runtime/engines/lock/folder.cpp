#include "lock/folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace deployrun::lock {

namespace {

core::Error failed(const std::string& what, const std::string& path, int code) {
  core::Error error{.kind = "lock.io", .message = what + " " + path + ": " + std::strerror(code)};
  error.details["path"] = path;
  return error;
}

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

bool write_all(int fd, std::string_view text) {
  off_t at = 0;
  while (!text.empty()) {
    const ssize_t size = ::pwrite(fd, text.data(), text.size(), at);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(size));
    at += size;
  }
  return true;
}

std::optional<std::uint64_t> number_of(std::string_view name, std::string_view prefix) {
  if (name.substr(0, prefix.size()) != prefix) return {};
  name.remove_prefix(prefix.size());
  std::uint64_t number = 0;
  const auto [stop, code] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (code != std::errc() || stop != name.data() + name.size() || number == 0) return {};
  return number;
}

}  // namespace

HeldFile::HeldFile(HeldFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

HeldFile& HeldFile::operator=(HeldFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

HeldFile::~HeldFile() {
  if (fd_ >= 0) ::close(fd_);
}

core::Result<Folder> Folder::open(const std::string& path) {
  std::error_code ignored;  // the next line says it better
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) return failed("make", path, errno);
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return failed("look at", path, errno);
  if (!S_ISDIR(found.st_mode)) return failed("open", path, ENOTDIR);
  if (found.st_uid != ::geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    core::Error error = failed("use", path, EPERM);
    error.message = "the deploy lock's folder " + path + " can be written by others";
    error.hint = "it must belong to the user who deploys, with mode 0700";
    return error;
  }
  return Folder(path);
}

core::Result<std::vector<std::uint64_t>> Folder::numbers(std::string_view prefix) const {
  std::vector<std::uint64_t> found;
  std::error_code code;
  for (std::filesystem::directory_iterator at(path_, code), end; !code && at != end; at.increment(code)) {
    if (const auto number = number_of(at->path().filename().string(), prefix)) found.push_back(*number);
  }
  if (code) return failed("list", path_, code.value());
  return found;
}

core::Result<std::uint64_t> Folder::highest(std::string_view prefix) const {
  const auto all = numbers(prefix);
  if (!all) return all.error();
  return all->empty() ? 0 : *std::max_element(all->begin(), all->end());
}

core::Result<std::optional<Seen>> Folder::look(const std::string& name) const {
  const std::string path = path_of(name);
  const HeldFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.fd() < 0) {
    if (errno == ENOENT) return std::optional<Seen>();
    return failed("open", path, errno);
  }
  struct flock lock = whole_file();
  if (::fcntl(file.fd(), F_OFD_GETLK, &lock) != 0) return failed("look at the lock of", path, errno);
  Seen seen{.text = std::string(kTextLimit, '\0'), .alive = lock.l_type != F_UNLCK};
  const ssize_t size = ::pread(file.fd(), seen.text.data(), seen.text.size(), 0);
  if (size < 0) return failed("read", path, errno);
  seen.text.resize(static_cast<std::size_t>(size));
  return std::optional<Seen>(std::move(seen));
}

core::Result<std::optional<HeldFile>> Folder::add(const std::string& name, std::string_view text, bool hold) const {
  const HeldFile folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() < 0) return failed("open", path_, errno);
  HeldFile file(::openat(folder.fd(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (file.fd() < 0) return failed("make a file in", path_, errno);
  if (!write_all(file.fd(), text) || ::fsync(file.fd()) != 0) return failed("write in", path_, errno);
  struct flock lock = whole_file();
  if (hold && ::fcntl(file.fd(), F_OFD_SETLK, &lock) != 0) return failed("lock a file in", path_, errno);
  const std::string open_file = "/proc/self/fd/" + std::to_string(file.fd());
  const std::string path = path_of(name);
  if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    if (errno == EEXIST) return std::optional<HeldFile>();
    return failed("make", path, errno);
  }
  if (::fsync(folder.fd()) != 0) return failed("write", path_, errno);
  return std::optional<HeldFile>(std::move(file));
}

core::Result<core::Unit> Folder::overwrite(const HeldFile& file, const std::string& name, std::string_view text,
                                           bool durable) const {
  if (!write_all(file.fd(), text) || (durable && ::fsync(file.fd()) != 0)) return failed("write", path_of(name), errno);
  return core::Unit{};
}

void Folder::remove(const std::string& name) const noexcept { ::unlink(path_of(name).c_str()); }

void Folder::remove_below(std::string_view prefix, std::uint64_t number) const noexcept {
  const auto all = numbers(prefix);
  if (!all) return;
  for (const std::uint64_t one : *all) {
    if (one < number) remove(std::string(prefix) + std::to_string(one));
  }
}

}  // namespace deployrun::lock
