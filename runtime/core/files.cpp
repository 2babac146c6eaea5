#include "core/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/file_pieces.hpp"
#include "core/pool.hpp"

namespace deployrun::core {

namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

FileType type_of(mode_t mode) {
  if (S_ISREG(mode)) return FileType::file;
  if (S_ISDIR(mode)) return FileType::directory;
  if (S_ISLNK(mode)) return FileType::symlink;
  return FileType::other;
}

/// Removes what `name` in the open folder is; a folder with all that is in it. Follows no symlink.
bool remove_tree(int folder, const char* name, std::string& where) {
  if (::unlinkat(folder, name, 0) == 0) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  const int fd = ::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  const Directory directory(::fdopendir(fd));
  if (!directory) {
    ::close(fd);
    return false;
  }
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    const std::size_t length = where.size();
    where += std::string("/") + entry->d_name;
    if (!remove_tree(::dirfd(directory.get()), entry->d_name, where)) return false;
    where.resize(length);
  }
  return errno == 0 && ::unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

}  // namespace

Error file_error(const std::string& what, const std::string& path, int code) {
  Error error{.kind = "files.io", .message = what + " " + path + ": " + std::strerror(code)};
  if (code == ENOENT || code == ENOTDIR) error.kind = "files.not_found";
  if (code == EACCES || code == EPERM || code == EROFS || code == ELOOP) error.kind = "files.denied";
  error.details = {{"path", path}, {"errno", static_cast<std::int64_t>(code)}};
  return error;
}

Error check_path(const char* what, const std::string& path) {
  if (path.empty()) return usage(std::string(what) + ": the path is empty");
  if (path.find('\0') != std::string::npos) return usage(std::string(what) + ": the path holds a NUL byte");
  return {};
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<std::string> read_file_now(const std::string& path, std::size_t limit) {
  if (Error bad = check_path("read", path); !bad.kind.empty()) return bad;
  // O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.open()) return file_error("read", path, errno);
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return file_error("read", path, errno);
  if (S_ISDIR(found.st_mode)) return file_error("read", path, EISDIR);
  std::string bytes;
  // The size is a hint: /proc says 0, and a file may grow while it is read.
  const std::size_t expected = found.st_size > 0 ? static_cast<std::size_t>(found.st_size) : 0;
  std::size_t room = std::min(expected, limit) + 1;
  for (;;) {
    const std::size_t before = bytes.size();
    bytes.resize(before + room);
    const ssize_t got = ::read(file.get(), bytes.data() + before, room);
    const int code = errno;
    bytes.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return bytes;
    if (got < 0 && code != EINTR) return file_error("read", path, code);
    if (bytes.size() > limit) {
      Error error = file_error("read", path, EFBIG);
      error.kind = "files.too_large";
      error.message = "read " + path + ": more than " + std::to_string(limit) + " bytes";
      error.details.emplace("limit", static_cast<std::int64_t>(limit));
      return error;
    }
    room = std::min<std::size_t>(limit + 1 - bytes.size(), std::max<std::size_t>(65536, bytes.size()));
  }
}

Result<Unit> write_file_now(const std::string& path, std::string_view bytes, const WriteOptions& options) {
  if (Error bad = check_path("write", path); !bad.kind.empty()) return bad;
  if (options.make_parents) {
    if (auto made = make_directories_now(folder_of(path), 0700); !made) return std::move(made).error();
  }
  auto file = NewFile::create(path);
  if (!file) return std::move(file).error();
  if (auto written = (*file)->write(bytes); !written) return written;
  return (*file)->commit(options.mode);
}

Result<std::optional<FileStat>> stat_file_now(const std::string& path) {
  if (Error bad = check_path("stat", path); !bad.kind.empty()) return bad;
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<FileStat>{};
    return file_error("stat", path, errno);
  }
  FileStat result;
  result.type = type_of(found.st_mode);
  result.size = static_cast<std::uint64_t>(found.st_size);
  result.mode = found.st_mode & 07777U;
  result.uid = found.st_uid;
  result.gid = found.st_gid;
  result.modified = found.st_mtim.tv_sec;
  return std::optional<FileStat>(result);
}

Result<bool> remove_file_now(const std::string& path, bool recursive) {
  if (Error bad = check_path("remove", path); !bad.kind.empty()) return bad;
  if (recursive) {
    std::string where = path;
    if (remove_tree(AT_FDCWD, path.c_str(), where)) return true;
    if (errno == ENOENT && where == path) return false;
    return file_error("remove", where, errno);
  }
  if (::unlink(path.c_str()) == 0) return true;
  if ((errno == EISDIR || errno == EPERM) && ::rmdir(path.c_str()) == 0) return true;
  if (errno == ENOENT) return false;
  return file_error("remove", path, errno);
}

Result<bool> make_directories_now(const std::string& path, mode_t mode) {
  if (Error bad = check_path("make directory", path); !bad.kind.empty()) return bad;
  if (::mkdir(path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) {
    struct stat found {};
    if (::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) return false;
    return file_error("make directory", path, ENOTDIR);
  }
  if (errno != ENOENT) return file_error("make directory", path, errno);
  const std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1);
  const std::string above = folder_of(trimmed);
  if (above == trimmed || above == ".") return file_error("make directory", path, ENOENT);
  if (auto made = make_directories_now(above, mode); !made) return made;
  // Somebody else may have made it in between.
  if (::mkdir(path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  return file_error("make directory", path, errno);
}

Result<std::vector<DirectoryEntry>> list_directory_now(const std::string& path) {
  if (Error bad = check_path("list", path); !bad.kind.empty()) return bad;
  const Directory directory(::opendir(path.c_str()));
  if (!directory) return file_error("list", path, errno);
  std::vector<DirectoryEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) {
      if (errno != 0) return file_error("list", path, errno);
      break;
    }
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    FileType type = FileType::other;
    if (entry->d_type == DT_REG) type = FileType::file;
    if (entry->d_type == DT_DIR) type = FileType::directory;
    if (entry->d_type == DT_LNK) type = FileType::symlink;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat found {};
      if (::fstatat(::dirfd(directory.get()), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0)
        type = type_of(found.st_mode);
    }
    entries.push_back({name, type});
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

namespace {

template <class T>
std::unique_ptr<Operation<T>> on_pool(Loop& loop, std::function<Result<T>()> work) {
  return std::make_unique<PoolJob<T>>(loop, std::move(work));
}

}  // namespace

std::unique_ptr<Operation<std::string>> read_file(Loop& loop, std::string path, std::size_t limit) {
  return on_pool<std::string>(loop, [path = std::move(path), limit] { return read_file_now(path, limit); });
}

std::unique_ptr<Operation<Unit>> write_file(Loop& loop, std::string path, std::string bytes, WriteOptions options) {
  return on_pool<Unit>(loop, [path = std::move(path), bytes = std::move(bytes), options] {
    return write_file_now(path, bytes, options);
  });
}

std::unique_ptr<Operation<std::optional<FileStat>>> stat_file(Loop& loop, std::string path) {
  return on_pool<std::optional<FileStat>>(loop, [path = std::move(path)] { return stat_file_now(path); });
}

std::unique_ptr<Operation<bool>> remove_file(Loop& loop, std::string path, bool recursive) {
  return on_pool<bool>(loop, [path = std::move(path), recursive] { return remove_file_now(path, recursive); });
}

std::unique_ptr<Operation<bool>> make_directories(Loop& loop, std::string path, mode_t mode) {
  return on_pool<bool>(loop, [path = std::move(path), mode] { return make_directories_now(path, mode); });
}

std::unique_ptr<Operation<std::vector<DirectoryEntry>>> list_directory(Loop& loop, std::string path) {
  return on_pool<std::vector<DirectoryEntry>>(loop, [path = std::move(path)] { return list_directory_now(path); });
}

}  // namespace deployrun::core
