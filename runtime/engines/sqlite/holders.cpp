#include "sqlite/holders.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>

#include "core/text.hpp"
#include "sqlite/place.hpp"

namespace deployrun::sqlite {

namespace {

constexpr std::int64_t kPendingByte = 0x40000000;
constexpr std::int64_t kReservedByte = kPendingByte + 1;
constexpr std::int64_t kSharedFirst = kPendingByte + 2;
constexpr std::int64_t kWalWriteByte = 120;  // WAL_WRITE_LOCK, of the -shm file
constexpr std::size_t kLongestCommand = 16U << 10U;
constexpr std::size_t kMostLocks = 16U << 20U;
constexpr std::int64_t kWalLastReadByte = 127;  // behind it, the byte that says only «somebody has it open»

struct File {
  unsigned major_number = 0;
  unsigned minor_number = 0;
  std::uint64_t inode = 0;
};

std::optional<File> file_of(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return {};
  return File{major(found.st_dev), minor(found.st_dev), static_cast<std::uint64_t>(found.st_ino)};
}

/// One line of /proc/locks: `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120`.
struct Lock {
  std::int64_t pid = 0;
  bool write = false;
  File file;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// One that waits has `->` for its second word, and so is of another shape.
std::optional<Lock> parse_lock(const std::string& line) {
  Lock lock;
  std::array<char, 16> kind{};
  std::array<char, 24> last{};
  const int found = std::sscanf(
      line.c_str(), "%*d: %*15[A-Z] %*15[A-Z] %15s %" SCNd64 " %x:%x:%" SCNu64 " %" SCNd64 " %23s", kind.data(),
      &lock.pid, &lock.file.major_number, &lock.file.minor_number, &lock.file.inode, &lock.first, last.data());
  if (found != 7) return {};
  lock.write = std::strcmp(kind.data(), "WRITE") == 0;
  if (std::strcmp(last.data(), "EOF") == 0) {
    lock.last = INT64_MAX;
  } else if (std::sscanf(last.data(), "%" SCNd64, &lock.last) != 1) {
    return {};
  }
  return lock;
}

/// What a file of /proc holds, `most` bytes; nothing where it cannot be read. Streams would double the agent's size.
std::string read_proc(const std::string& path, std::size_t most) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  std::array<char, 4096> piece{};
  for (ssize_t size = 0; text.size() < most && (size = ::read(fd, piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
  ::close(fd);
  return text;
}

bool same(const File& a, const File& b) {
  return a.inode == b.inode && a.major_number == b.major_number && a.minor_number == b.minor_number;
}

bool covers(const Lock& lock, std::int64_t byte) { return lock.first <= byte && byte <= lock.last; }

std::string command_of(std::int64_t pid) {
  std::string text = read_proc("/proc/" + std::to_string(pid) + "/cmdline", kLongestCommand);
  if (!text.empty() && text.back() == '\0') text.pop_back();
  std::string words;
  int count = 0;
  for (const std::string_view word : core::split(text, '\0')) {
    if (++count > 2) break;
    words += (words.empty() ? "" : " ") + std::string(word.substr(0, 80));
  }
  return core::clean(words);
}

bool is_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The ID in `…/docker-<id>.scope`, `/docker/<id>`, `…/libpod-<id>`.
std::string container_of(std::int64_t pid) {
  const std::string text = read_proc("/proc/" + std::to_string(pid) + "/cgroup", kLongestCommand);
  for (std::size_t at = 0; at + 64 <= text.size(); ++at) {
    if (is_id(std::string_view(text).substr(at, 64))) return text.substr(at, 64);
  }
  return {};
}

}  // namespace

std::vector<Holder> find_holders(const std::string& path) {
  const auto database = file_of(path);
  if (!database) return {};
  const auto shared = file_of(path + "-shm");
  std::map<std::int64_t, bool> writes;  // by process
  const std::string locks = read_proc("/proc/locks", kMostLocks);
  for (const std::string_view line : core::lines(locks)) {
    const auto lock = parse_lock(std::string(line));
    if (!lock || lock->pid <= 0 || lock->pid == ::getpid()) continue;
    if (same(lock->file, *database)) {
      const bool keeps_out =
          lock->write && (covers(*lock, kReservedByte) || covers(*lock, kPendingByte) || covers(*lock, kSharedFirst));
      if (lock->last >= kPendingByte) writes[lock->pid] |= keeps_out;
    } else if (shared && same(lock->file, *shared) && lock->first <= kWalLastReadByte) {
      writes[lock->pid] |= lock->write && covers(*lock, kWalWriteByte);
    }
  }
  std::vector<Holder> holders;
  for (const auto& [pid, writing] : writes) {
    holders.push_back({.pid = pid, .command = command_of(pid), .container = container_of(pid), .writes = writing});
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](const Holder& a, const Holder& b) { return a.writes && !b.writes; });
  return holders;
}

std::string describe(const Holder& holder) {
  std::string text = holder.command.empty() ? std::string() : holder.command + " (";
  text += "process " + std::to_string(holder.pid);
  if (!holder.container.empty()) text += ", container " + holder.container.substr(0, 12);
  return text + (holder.command.empty() ? "" : ")");
}

void add_holders(core::Error& error, const std::vector<Holder>& holders) {
  if (holders.empty()) return;
  const Holder& first = holders.front();
  error.message += ", held by " + describe(first);
  if (holders.size() > 1) error.message += " and " + std::to_string(holders.size() - 1) + " more";
  error.details["holder_pid"] = first.pid;
  error.details["holder_command"] = first.command;
  error.details["holder_container"] = first.container;
}

core::Error name_holders(const std::string& path, core::Error error) {
  if (auto real = check_place(path)) add_holders(error, find_holders(*real));
  return error;
}

}  // namespace deployrun::sqlite
