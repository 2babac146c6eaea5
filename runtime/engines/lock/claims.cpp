#include "lock/claims.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

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

bool write_all(int fd, std::string_view text, off_t at) {
  while (!text.empty()) {
    const ssize_t size = ::pwrite(fd, text.data(), text.size(), at);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(size));
    at += size;
  }
  return true;
}

bool sync_folder(const std::string& folder) {
  const ClaimFile open(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return open.fd() >= 0 && ::fsync(open.fd()) == 0;
}

std::optional<std::uint64_t> token_of(std::string_view name) {
  constexpr std::string_view kPrefix = "claim-";
  if (name.substr(0, kPrefix.size()) != kPrefix) return {};
  name.remove_prefix(kPrefix.size());
  std::uint64_t token = 0;
  const auto [stop, code] = std::from_chars(name.data(), name.data() + name.size(), token);
  if (code != std::errc() || stop != name.data() + name.size() || token == 0) return {};
  return token;
}

}  // namespace

ClaimFile::ClaimFile(ClaimFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

ClaimFile& ClaimFile::operator=(ClaimFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

ClaimFile::~ClaimFile() {
  if (fd_ >= 0) ::close(fd_);
}

core::Result<Claims> Claims::open(const std::string& folder) {
  std::error_code made;
  std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), made);
  if (::mkdir(folder.c_str(), S_IRWXU) != 0 && errno != EEXIST) return failed("make", folder, errno);
  struct stat found {};
  if (::lstat(folder.c_str(), &found) != 0) return failed("look at", folder, errno);
  if (!S_ISDIR(found.st_mode)) return failed("open", folder, ENOTDIR);
  if (found.st_uid != ::geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    core::Error error = failed("use", folder, EPERM);
    error.message = "the deploy lock's folder " + folder + " can be written by others";
    error.hint = "it must belong to the user who deploys, with mode 0700";
    return error;
  }
  return Claims(folder);
}

core::Result<std::vector<std::uint64_t>> Claims::tokens() const {
  std::vector<std::uint64_t> found;
  std::error_code code;
  for (std::filesystem::directory_iterator at(folder_, code), end; !code && at != end; at.increment(code)) {
    if (const auto token = token_of(at->path().filename().string())) found.push_back(*token);
  }
  if (code) return failed("list", folder_, code.value());
  return found;
}

core::Result<std::uint64_t> Claims::highest_token() const {
  const auto all = tokens();
  if (!all) return all.error();
  return all->empty() ? 0 : *std::max_element(all->begin(), all->end());
}

core::Result<std::optional<Found>> Claims::highest() const {
  for (;;) {
    const auto token = highest_token();
    if (!token) return token.error();
    if (*token == 0) return std::optional<Found>();
    const std::string path = path_of(*token);
    const ClaimFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (file.fd() < 0) {
      if (errno == ENOENT) continue;  // a higher one has come meanwhile
      return failed("open", path, errno);
    }
    struct flock lock = whole_file();
    if (::fcntl(file.fd(), F_OFD_GETLK, &lock) != 0) return failed("look at the lock of", path, errno);
    std::string text(kRecordLimit, '\0');
    const ssize_t size = ::pread(file.fd(), text.data(), text.size(), 0);
    if (size < 0) return failed("read", path, errno);
    text.resize(static_cast<std::size_t>(size));
    auto record = from_text(text, *token);
    if (!record) return std::move(record).error();
    return std::optional<Found>(Found{std::move(record).value(), lock.l_type != F_UNLCK});
  }
}

core::Result<std::optional<ClaimFile>> Claims::add(const Record& record) const {
  const ClaimFile folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() < 0) return failed("open", folder_, errno);
  ClaimFile file(::openat(folder.fd(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (file.fd() < 0) return failed("make a file in", folder_, errno);
  if (!write_all(file.fd(), to_text(record), 0) || ::fsync(file.fd()) != 0) return failed("write in", folder_, errno);
  struct flock lock = whole_file();
  if (!record.claim.by_hand && !record.released && ::fcntl(file.fd(), F_OFD_SETLK, &lock) != 0) {
    return failed("lock a file in", folder_, errno);
  }
  const std::string open_file = "/proc/self/fd/" + std::to_string(file.fd());
  const std::string path = path_of(record.token);
  if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    if (errno == EEXIST) return std::optional<ClaimFile>();
    return failed("make", path, errno);
  }
  if (::fsync(folder.fd()) != 0) return failed("write", folder_, errno);
  // Who had looked long ago may come with a token that was used and forgotten.
  const auto now = highest_token();
  if (!now) return now.error();
  if (*now == record.token) return std::optional<ClaimFile>(std::move(file));
  ::unlink(path.c_str());
  return std::optional<ClaimFile>();
}

core::Result<core::Unit> Claims::write_sign(const ClaimFile& file, const Record& record, bool durable) const {
  if (!write_all(file.fd(), sign(record), 0)) return failed("write", path_of(record.token), errno);
  if (durable && (::fsync(file.fd()) != 0 || !sync_folder(folder_))) {
    return failed("write", path_of(record.token), errno);
  }
  return core::Unit{};
}

void Claims::forget_below(std::uint64_t token) const noexcept {
  try {
    const auto all = tokens();
    if (!all) return;
    for (const std::uint64_t one : *all) {
      if (one < token) ::unlink(path_of(one).c_str());
    }
  } catch (const std::exception&) {  // no memory: the next one will do it
  }
}

}  // namespace deployrun::lock
