#include "sqlite/holders.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "core/text.hpp"
#include "sqlite/place.hpp"

namespace deployrun::sqlite {

namespace {

constexpr std::int64_t kPendingByte = 0x40000000;
constexpr std::int64_t kReservedByte = kPendingByte + 1;
constexpr std::int64_t kSharedFirst = kPendingByte + 2;
constexpr std::int64_t kWalWriteByte = 120;     // WAL_WRITE_LOCK, of the -shm file
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

std::optional<Lock> parse_lock(const std::string& line) {
  std::istringstream words(line);
  std::string number, word, mode, kind, place, first, last;
  Lock lock;
  if (!(words >> number >> word)) return {};
  if (word == "->") return {};  // one that waits
  if (!(words >> mode >> kind >> lock.pid >> place >> first >> last)) return {};
  lock.write = kind == "WRITE";
  unsigned long inode = 0;
  if (std::sscanf(place.c_str(), "%x:%x:%lu", &lock.file.major_number, &lock.file.minor_number, &inode) != 3) return {};
  lock.file.inode = inode;
  try {
    lock.first = std::stoll(first);
    lock.last = last == "EOF" ? INT64_MAX : std::stoll(last);
  } catch (const std::exception&) {
    return {};
  }
  return lock;
}

bool same(const File& a, const File& b) {
  return a.inode == b.inode && a.major_number == b.major_number && a.minor_number == b.minor_number;
}

bool covers(const Lock& lock, std::int64_t byte) { return lock.first <= byte && byte <= lock.last; }

std::string command_of(std::int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::string words, word;
  for (int count = 0; count < 2 && std::getline(file, word, '\0'); ++count) {
    words += (words.empty() ? "" : " ") + word.substr(0, 80);
  }
  return core::clean(words);
}

bool is_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The ID in `…/docker-<id>.scope`, `/docker/<id>`, `…/libpod-<id>`.
std::string container_of(std::int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    for (std::size_t at = 0; at + 64 <= line.size(); ++at) {
      if (is_id(std::string_view(line).substr(at, 64))) return line.substr(at, 64);
    }
  }
  return {};
}

}  // namespace

std::vector<Holder> find_holders(const std::string& path) {
  const auto database = file_of(path);
  if (!database) return {};
  const auto shared = file_of(path + "-shm");
  std::map<std::int64_t, bool> writes;  // by process
  std::ifstream locks("/proc/locks");
  std::string line;
  while (std::getline(locks, line)) {
    const auto lock = parse_lock(line);
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
