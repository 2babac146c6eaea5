#include "core/file_pieces.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/base64.hpp"
#include "core/files.hpp"

namespace deployrun::core {

namespace {

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool sync_folder(const std::string& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.open()) return false;
  // Some file systems cannot sync a folder and say EINVAL: nothing more can be asked of them.
  return ::fsync(folder.get()) == 0 || errno == EINVAL;
}

std::string fresh_suffix() {
  char random[8] = {};
  if (::getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) {
    const auto ticks = Loop::now().time_since_epoch().count() ^ ::getpid();
    std::memcpy(random, &ticks, sizeof random);
  }
  return hex_encode({random, sizeof random});
}

}  // namespace

bool Descriptor::shut() noexcept {
  const int fd = std::exchange(fd_, -1);
  return fd < 0 || ::close(fd) == 0;
}

Result<std::shared_ptr<FileReader>> FileReader::open(const std::string& path) {
  if (Error bad = check_path("read", path); !bad.kind.empty()) return bad;
  // O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
  std::shared_ptr<FileReader> reader(new FileReader(path, ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
  if (!reader->file_.open()) return file_error("read", path, errno);
  struct stat found {};
  if (::fstat(reader->file_.get(), &found) != 0) return file_error("read", path, errno);
  if (!S_ISREG(found.st_mode)) return file_error("read", path, S_ISDIR(found.st_mode) ? EISDIR : EINVAL);
  reader->size_ = static_cast<std::uint64_t>(found.st_size);
  return reader;
}

Result<std::string> FileReader::read(std::size_t most) {
  std::string bytes(most, '\0');
  std::size_t have = 0;
  while (have < most) {
    const ssize_t got = ::read(file_.get(), bytes.data() + have, most - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error("read", path_, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  read_ += have;
  if (read_ > size_ || (have < most && read_ < size_)) {
    Error changed = file_error("read", path_, EIO);
    changed.message = "read " + path_ + ": it was changed meanwhile";
    return changed;
  }
  return bytes;
}

Result<std::shared_ptr<NewFile>> NewFile::create(const std::string& path) {
  if (Error bad = check_path("write", path); !bad.kind.empty()) return bad;
  std::string fresh = path + "." + fresh_suffix() + ".tmp";
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return file_error("write", path, errno);
  return std::shared_ptr<NewFile>(new NewFile(path, std::move(fresh), fd));
}

void NewFile::drop() noexcept {
  if (!fresh_.empty()) ::unlink(fresh_.c_str());
  fresh_.clear();
}

Result<Unit> NewFile::write(std::string_view bytes) {
  if (!write_all(file_.get(), bytes)) return file_error("write", path_, errno);
  return Unit{};
}

Result<Unit> NewFile::commit(mode_t mode) {
  // The mode is set on the open file, after creation with 0600: no umask, and no moment at which it is wider than
  // asked.
  const bool written = ::fchmod(file_.get(), mode) == 0 && ::fsync(file_.get()) == 0 && file_.shut() &&
                       ::rename(fresh_.c_str(), path_.c_str()) == 0;
  if (!written) return file_error("write", path_, errno);
  fresh_.clear();
  if (!sync_folder(folder_of(path_))) return file_error("write", path_, errno);
  return Unit{};
}

}  // namespace deployrun::core
