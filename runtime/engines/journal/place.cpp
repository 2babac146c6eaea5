#include "journal/place.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

namespace deployrun::journal {

namespace {

constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

core::Error failed(const std::string& what, const std::string& path, int code) {
  return {.kind = "journal.io", .message = what + " " + path + ": " + std::strerror(code)};
}

core::Error unsafe(const std::string& path, const std::string& why, std::string hint) {
  core::Error error{
      .kind = "journal.unsafe", .message = "the journal is not safe at " + path + ": " + why, .hint = std::move(hint)};
  error.details["path"] = path;
  return error;
}

/// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// Whoever may write a folder above may replace everything below; the sticky bit (as on /tmp) takes that right away.
core::Result<core::Unit> check_parents(const std::filesystem::path& from) {
  for (std::filesystem::path path = from;; path = path.parent_path()) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return failed("look at", path, errno);
    if ((status.st_mode & S_IWOTH) != 0 && (status.st_mode & S_ISVTX) == 0) {
      return unsafe(path, "every user may write this folder", "chmod o-w " + path.string());
    }
    if (path == path.parent_path()) return core::Unit{};
  }
}

core::Result<core::Unit> check_owner(const std::string& path, const struct stat& status) {
  if (status.st_uid != ::geteuid()) {
    return unsafe(path, "it belongs to user " + std::to_string(status.st_uid), "run as its owner, or move it away");
  }
  if ((status.st_mode & kOthersWrite) != 0) {
    return unsafe(path, "others may write it", "make sure that nobody changed it, then chmod go= " + path);
  }
  return core::Unit{};
}

core::Result<Descriptor> open_folder(const std::string& path, bool create) {
  bool made = false;
  if (create) {
    made = ::mkdir(path.c_str(), S_IRWXU) == 0;
    if (!made && errno != EEXIST) return failed("make", path, errno);
  }
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder.get() < 0) {
    const int code = errno;
    if (code == ENOENT) return core::Error{.kind = "journal.missing", .message = "there is no journal at " + path};
    if (code == ELOOP || code == ENOTDIR)
      return unsafe(path, "it is no folder (a symbolic link is not followed)", "move it away");
    return failed("open", path, code);
  }
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0) return failed("look at", path, errno);
  if (auto safe = check_owner(path, status); !safe) return std::move(safe).error();
  if ((status.st_mode & kOthers) != 0 && ::fchmod(folder.get(), S_IRWXU) != 0) return failed("chmod 700", path, errno);
  if (made) {
    // The state of one operator's runs has no place in the project's history.
    Descriptor ignore(
        ::openat(folder.get(), ".gitignore", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
    if (ignore.get() >= 0 && ::write(ignore.get(), "*\n", 2) != 2) return failed("write", path + "/.gitignore", errno);
  }
  return folder;
}

core::Result<core::Unit> check_file(const Descriptor& folder, const std::string& folder_path, const char* name) {
  const std::string path = folder_path + "/" + name;
  struct stat status {};
  // Looked at, never opened: closing a descriptor of a database would drop SQLite's locks on it in this process.
  if (::fstatat(folder.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? core::Result<core::Unit>(core::Unit{}) : failed("look at", path, errno);
  }
  if (!S_ISREG(status.st_mode))
    return unsafe(path, "it is no regular file (a symbolic link is not followed)", "move it away");
  if (status.st_nlink != 1) return unsafe(path, "it has a second name (a hard link)", "move it away");
  if (auto safe = check_owner(path, status); !safe) return safe;
  if ((status.st_mode & kOthers) != 0 && ::fchmodat(folder.get(), name, S_IRUSR | S_IWUSR, 0) != 0) {
    return failed("chmod 600", path, errno);
  }
  return core::Unit{};
}

core::Result<core::Unit> make_file(const Descriptor& folder, const std::string& folder_path, const char* name) {
  Descriptor file(::openat(folder.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (file.get() < 0) {
    return errno == EEXIST ? core::Result<core::Unit>(core::Unit{}) : failed("make", folder_path + "/" + name, errno);
  }
  ::fsync(folder.get());  // the name itself must survive a power cut; SQLite takes the file as given
  return core::Unit{};
}

}  // namespace

core::Result<Place> open_place(const std::string& folder, bool create) {
  auto path = std::filesystem::absolute(folder).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  std::error_code failure;
  const auto parent = std::filesystem::canonical(path.parent_path(), failure);
  if (failure) return failed("find", path.parent_path(), failure.value());
  if (auto safe = check_parents(parent); !safe) return std::move(safe).error();

  const std::string real = (parent / path.filename()).string();
  auto opened = open_folder(real, create);
  if (!opened) return std::move(opened).error();
  for (const char* name : {"journal.db", "journal.db-journal", "journal.lock"}) {
    if (auto safe = check_file(*opened, real, name); !safe) return std::move(safe).error();
  }
  if (create) {
    for (const char* name : {"journal.db", "journal.lock"}) {
      if (auto made = make_file(*opened, real, name); !made) return std::move(made).error();
    }
  } else if (::faccessat(opened->get(), "journal.db", F_OK, 0) != 0) {
    return core::Error{.kind = "journal.missing", .message = "there is no journal at " + real};
  }
  return Place{.folder = real, .database = real + "/journal.db", .lock = real + "/journal.lock"};
}

}  // namespace deployrun::journal
