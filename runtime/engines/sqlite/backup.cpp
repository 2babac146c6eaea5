#include "sqlite/backup.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "sqlite/database.hpp"
#include "sqlite/error.hpp"

namespace deployrun::sqlite {

namespace {

constexpr int kPagesPerStep = 1000;
constexpr int kStepsBetweenLooks = 10'000;  // of SQLite's virtual machine
constexpr std::size_t kMostProblems = 100;

struct FinishBackup {
  void operator()(sqlite3_backup* backup) const noexcept { sqlite3_backup_finish(backup); }
};
using BackupHandle = std::unique_ptr<sqlite3_backup, FinishBackup>;

core::Error failed(const std::string& what, const std::string& path, int code) {
  return {.kind = "sqlite.io", .message = what + " " + path + ": " + std::strerror(code)};
}

/// Removes a file that was made under a name of its own, whether it got its real one or not.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)) {}
  ~Partial() {
    // With what SQLite leaves beside a copy in WAL mode that was checked.
    for (const char* part : {"", "-wal", "-shm", "-journal"}) ::unlink((path_ + part).c_str());
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

core::Result<std::string> make_partial(const std::string& to) {
  std::uint64_t noise = 0;
  if (::getrandom(&noise, sizeof noise, 0) != static_cast<ssize_t>(sizeof noise)) return failed("name", to, errno);
  std::string path = to + ".partial-" + std::to_string(noise);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return failed("make", path, errno);
  ::close(fd);  // nobody else has a lock on a file that has just been made
  return path;
}

core::Result<core::Unit> sync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return failed("open", path, errno);
  const bool synced = ::fsync(fd) == 0;
  const int code = errno;
  ::close(fd);
  if (!synced) return failed("sync", path, code);
  return core::Unit{};
}

core::Result<Copied> copy_pages(Database& from, Database& into, const Stop& stop) {
  BackupHandle backup(sqlite3_backup_init(into.raw(), "main", from.raw(), "main"));
  if (!backup) return to_error(into.raw(), sqlite3_extended_errcode(into.raw()), into.path(), "copy into");
  for (;;) {
    if (stop) return core::cancelled("copy of " + from.path() + ": cancelled");
    const int code = sqlite3_backup_step(backup.get(), kPagesPerStep);
    if (code == SQLITE_DONE) break;
    if (code != SQLITE_OK) return to_error(nullptr, code, into.path(), "copy " + from.path() + " into");
  }
  const std::int64_t pages = sqlite3_backup_pagecount(backup.get());
  backup.reset();
  auto size = from.scalar("PRAGMA page_size");
  if (!size) return std::move(size).error();
  const auto* bytes = std::get_if<std::int64_t>(&*size);
  return Copied{.bytes = pages * (bytes == nullptr ? 0 : *bytes), .pages = pages};
}

core::Result<core::Unit> refuse_damaged(const std::string& path, const Stop& stop) {
  auto found = problems(path, stop);
  if (!found) return std::move(found).error();
  if (found->empty()) return core::Unit{};
  return core::Error{.kind = "sqlite.corrupt",
                     .message = path + " is damaged: " + found->front(),
                     .hint = "take another backup; deployrun's check names every problem"};
}

}  // namespace

core::Result<Copied> snapshot(const std::string& from, const std::string& to, bool check, const Stop& stop) {
  if (::access(to.c_str(), F_OK) == 0) {
    return core::Error{.kind = "sqlite.exists",
                       .message = "snapshot to " + to + ": it is there already",
                       .hint = "choose another name, or remove it first"};
  }
  auto source = Database::open(from, {.create = false, .busy_timeout = core::Milliseconds(0), .foreign = true});
  if (!source) return std::move(source).error();
  auto made = make_partial(to);
  if (!made) return std::move(made).error();
  Partial partial(*made);
  core::Result<Copied> copied = Copied{};
  {
    auto target = Database::open(partial.path(), {.create = false});
    if (!target) return std::move(target).error();
    if (auto set = target->execute("PRAGMA synchronous = OFF"); !set) return std::move(set).error();
    // An open read transaction keeps the moment: without it every commit of a writer would start the copy anew.
    if (auto begun = source->execute("BEGIN; SELECT count(*) FROM sqlite_schema"); !begun) {
      return std::move(begun).error();
    }
    copied = copy_pages(*source, *target, stop);
    if (!copied) return copied;
    (void)source->execute("COMMIT");
  }
  if (check) {
    if (auto whole = refuse_damaged(partial.path(), stop); !whole) return std::move(whole).error();
  }
  if (auto synced = sync_path(partial.path(), O_RDONLY); !synced) return std::move(synced).error();
  // link + unlink instead of rename: a file that came into being meanwhile is not replaced.
  if (::link(partial.path().c_str(), to.c_str()) != 0) return failed("name", to, errno);
  const std::string folder = std::filesystem::path(to).parent_path().string();
  if (auto synced = sync_path(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY); !synced) {
    return std::move(synced).error();
  }
  return copied;
}

core::Result<Copied> restore(const std::string& from, const std::string& to, const Stop& stop) {
  if (auto whole = refuse_damaged(from, stop); !whole) return std::move(whole).error();
  auto source = Database::open(from, {.create = false, .read_only = true, .busy_timeout = core::Milliseconds(0)});
  if (!source) return std::move(source).error();
  auto target = Database::open(to, {.create = true, .busy_timeout = core::Milliseconds(0), .foreign = true});
  if (!target) return std::move(target).error();
  // The target is in one transaction from the first step to the last: it is rolled back where the last never comes.
  return copy_pages(*source, *target, stop);
}

core::Result<std::vector<std::string>> problems(const std::string& path, const Stop& stop) {
  auto database = Database::open(path, {.create = false, .busy_timeout = core::Milliseconds(0), .foreign = true});
  if (!database) return std::move(database).error();
  const auto stopped = [](void* flag) { return static_cast<const Stop*>(flag)->load() ? 1 : 0; };
  sqlite3_progress_handler(database->raw(), kStepsBetweenLooks, stopped, const_cast<Stop*>(&stop));
  std::vector<std::string> found;
  auto integrity = database->prepare("PRAGMA integrity_check(100)");
  if (!integrity) return std::move(integrity).error();
  for (;;) {
    auto row = integrity->step();
    if (!row) {
      if (stop) return core::cancelled("check of " + path + ": cancelled");
      if (!row.error().is("sqlite.corrupt")) return std::move(row).error();
      found.push_back(row.error().message);
      return found;
    }
    if (!*row) break;
    if (integrity->text(0) != "ok") found.push_back(integrity->text(0));
  }
  auto keys = database->prepare("PRAGMA foreign_key_check");
  if (!keys) return std::move(keys).error();
  while (found.size() < kMostProblems) {
    auto row = keys->step();
    if (!row && stop) return core::cancelled("check of " + path + ": cancelled");
    if (!row) return std::move(row).error();
    if (!*row) break;
    found.push_back("row " + keys->text(1) + " of " + keys->text(0) + " refers to a row of " + keys->text(2) +
                    " that is not there");
  }
  return found;
}

}  // namespace deployrun::sqlite
