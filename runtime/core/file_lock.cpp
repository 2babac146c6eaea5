#include "core/file_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace deployrun::core {

namespace {

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

std::string read_text(int fd) {
  std::array<char, 4096> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  return {text.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
}

Error failed(const char* what, const std::string& path, int code) {
  Error error{.kind = "files.io", .message = std::string(what) + " " + path + ": " + std::strerror(code)};
  error.details["path"] = path;
  return error;
}

}  // namespace

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  // Emptied while still held: no reader takes these words for the next holder's.
  [[maybe_unused]] const int ignored = ::ftruncate(fd_, 0);
  // Not by closing alone: a child may have the descriptor too.
  struct flock lock = whole_file(F_UNLCK);
  ::fcntl(fd_, F_OFD_SETLK, &lock);
  ::close(fd_);
}

Result<std::optional<FileLock>> FileLock::try_acquire(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return failed("open", path, errno);
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return std::optional<FileLock>(FileLock(fd));
  const int code = errno;
  ::close(fd);
  if (code == EAGAIN || code == EACCES) return std::optional<FileLock>();
  return failed("lock", path, code);
}

Result<std::optional<std::string>> FileLock::look(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno == ENOENT ? Result<std::optional<std::string>>(std::nullopt) : failed("open", path, errno);
  struct flock lock = whole_file(F_WRLCK);
  const bool known = ::fcntl(fd, F_OFD_GETLK, &lock) == 0;
  const int code = errno;
  std::optional<std::string> text;
  if (known && lock.l_type != F_UNLCK) text = read_text(fd);
  ::close(fd);
  if (!known) return failed("look at the lock", path, code);
  return text;
}

void FileLock::announce(const std::string& text) noexcept {
  [[maybe_unused]] const bool written =
      ::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

}  // namespace deployrun::core
