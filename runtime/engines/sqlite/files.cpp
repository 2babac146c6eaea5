#include "sqlite/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "sqlite/place.hpp"

namespace deployrun::sqlite {

namespace {

constexpr std::string_view kHeader{"SQLite format 3\0", 16};  // sqlite.org/fileformat2.html §1.3
constexpr std::string_view kReserve = ".reserve";

core::Error failed(const char* what, const std::string& path, int code) {
  return {.kind = code == ENOSPC || code == EDQUOT || code == EFBIG ? "sqlite.full" : "sqlite.io",
          .message = std::string(what) + " " + path + ": " + std::strerror(code)};
}

/// Closes no file that anybody locks: this process has no connection to it.
bool is_ours(const std::string& path) {
  if (path.ends_with(kReserve)) return true;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  std::array<char, 16> header{};
  const ssize_t got = ::read(fd, header.data(), header.size());
  ::close(fd);
  return got == 0 || (got == 16 && std::string_view(header.data(), header.size()) == kHeader);
}

}  // namespace

core::Result<bool> remove_database(const std::string& path) {
  auto real = check_place(path);
  if (!real) return std::move(real).error();
  struct stat found {};
  if (::lstat(real->c_str(), &found) != 0) {
    if (errno == ENOENT) return false;
    return failed("look at", path, errno);
  }
  if (!S_ISREG(found.st_mode) || !is_ours(*real)) {
    return core::Error{.kind = "sqlite.open", .message = "remove " + path + ": it is no SQLite database"};
  }
  // What lies beside it first: it must never meet another database of this name.
  for (const char* part : {"-journal", "-wal", "-shm", ""}) {
    if (::unlink((*real + part).c_str()) != 0 && errno != ENOENT) return failed("remove", *real + part, errno);
  }
  return true;
}

core::Result<bool> move_database(const std::string& from, const std::string& to) {
  auto source = check_place(from);
  if (!source) return std::move(source).error();
  auto target = check_place(to);
  if (!target) return std::move(target).error();
  bool moved = false;
  // The database itself last: until then a repetition knows what is left.
  for (const char* part : {"-journal", "-wal", "-shm", ""}) {
    struct stat found {};
    if (::lstat((*source + part).c_str(), &found) != 0) {
      if (errno == ENOENT) continue;
      return failed("look at", *source + part, errno);
    }
    if (!S_ISREG(found.st_mode)) {
      return core::Error{.kind = "sqlite.open", .message = "move " + *source + part + ": it is no file"};
    }
    if (::renameat2(AT_FDCWD, (*source + part).c_str(), AT_FDCWD, (*target + part).c_str(), RENAME_NOREPLACE) != 0) {
      if (errno != EEXIST) return failed("move", *source + part, errno);
      return core::Error{.kind = "sqlite.exists",
                         .message = "move " + *source + part + ": " + *target + part + " is there already"};
    }
    moved = true;
  }
  return moved;
}

core::Result<core::Unit> reserve(const std::string& path, std::int64_t bytes) {
  auto real = check_place(path);
  if (!real) return std::move(real).error();
  const int fd = ::open(real->c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return failed("make", path, errno);
  const int code = bytes > 0 ? ::posix_fallocate(fd, 0, static_cast<off_t>(bytes)) : 0;
  ::close(fd);
  if (code == 0) return core::Unit{};
  ::unlink(real->c_str());
  return failed("take room for", path, code);
}

}  // namespace deployrun::sqlite
