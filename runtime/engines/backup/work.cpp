#include "backup/work.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "core/files.hpp"
#include "core/text.hpp"
#include "sqlite/holders.hpp"
#include "sqlite/patience.hpp"
#include "sqlite/place.hpp"

namespace deployrun::backup {

namespace {

constexpr unsigned kReadable = 0644;  // its folder is 0700; who made it in a container is somebody else

/// Gone when it ends, whatever happened.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) { ::unlink(path_.c_str()); }
  ~Temporary() {
    for (const char* part : {"", "-wal", "-shm", "-journal"}) ::unlink((path_ + part).c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string text(const Json& task, const char* name) { return task.at(name).get<std::string>(); }

/// Until it is not busy any more, for as long as the task says.
template <class T>
core::Result<T> patiently(const Json& task, const std::string& database, const Stop& stop,
                          const std::function<core::Result<T>()>& work) {
  const core::Milliseconds patience(task.at("patience_ms").get<std::int64_t>());
  const auto began = std::chrono::steady_clock::now();
  for (int attempts = 1;; ++attempts) {
    auto result = work();
    if (result.ok() || !result.error().is("sqlite.busy")) return result;
    if (stop) return core::cancelled();
    const auto waited = std::chrono::duration_cast<core::Milliseconds>(std::chrono::steady_clock::now() - began);
    if (waited >= patience) {
      return sqlite::name_holders(database, sqlite::busy_for(database, waited, std::move(result).error()));
    }
    std::this_thread::sleep_for(sqlite::pause_after(attempts));
  }
}

core::Result<core::Unit> check_space(const std::string& database, const std::string& scratch) {
  auto taken = sqlite::space_of(database);
  if (!taken) return std::move(taken).error();
  auto there = sqlite::space_of(scratch + "/snapshot.sqlite3");
  if (!there) return std::move(there).error();
  const std::int64_t needed = 2 * taken->bytes + taken->bytes / 10;
  if (there->free >= needed) return core::Unit{};
  core::Error error{.kind = "backup.space",
                    .message = scratch + " has " + std::to_string(there->free >> 20U) + " MiB left, a backup of " +
                               database + " takes up to " + std::to_string((needed >> 20U) + 1) + " MiB meanwhile",
                    .hint = "make room there"};
  error.details["free"] = there->free;
  error.details["needed"] = needed;
  return error;
}

core::Result<Json> copy(const Json& task, const Stop& stop) {
  auto real = sqlite::check_place(text(task, "database"));
  if (!real) return std::move(real).error();
  if (::access(real->c_str(), F_OK) != 0) {
    return core::Error{.kind = "backup.missing", .message = *real + " is not there", .hint = "check the path"};
  }
  const std::string scratch = text(task, "scratch");
  if (auto room = check_space(*real, scratch); !room) return std::move(room).error();
  const Temporary snapshot(scratch + "/snapshot.sqlite3");
  auto copied = patiently<sqlite::Copied>(task, *real, stop,
                                          [&] { return sqlite::snapshot(*real, snapshot.path(), true, stop); });
  if (!copied) return std::move(copied).error();
  auto packed = pack(snapshot.path(), text(task, "to"), task.at("level").get<int>(), kReadable, stop);
  if (!packed) return std::move(packed).error();
  return Json{{"sha256", packed->sha256}, {"bytes", packed->bytes}, {"contents", packed->contents}};
}

core::Result<core::Unit> refuse(const std::string& path, const std::vector<std::string>& problems) {
  if (problems.empty()) return core::Unit{};
  return core::Error{.kind = "sqlite.corrupt", .message = path + " is damaged: " + problems.front()};
}

core::Result<Json> load(const Json& task, const Stop& stop) {
  auto real = sqlite::check_place(text(task, "database"));
  if (!real) return std::move(real).error();
  const Temporary unpacked(text(task, "scratch") + "/unpacked.sqlite3");
  auto contents = unpack(text(task, "from"), unpacked.path(), text(task, "sha256"), stop);
  if (!contents) return std::move(contents).error();
  const bool is_new = ::access(real->c_str(), F_OK) != 0;
  auto restored =
      patiently<sqlite::Copied>(task, *real, stop, [&] { return sqlite::restore(unpacked.path(), *real, stop); });
  if (!restored) return std::move(restored).error();
  struct stat folder {};
  if (is_new && ::geteuid() == 0 && ::stat(core::folder_of(*real).c_str(), &folder) == 0) {
    // Whose folder it is, his program will use it.
    [[maybe_unused]] const int ignored = ::chown(real->c_str(), folder.st_uid, folder.st_gid);
  }
  auto problems = patiently<std::vector<std::string>>(task, *real, stop, [&] { return sqlite::problems(*real, stop); });
  if (!problems) return std::move(problems).error();
  if (auto whole = refuse(*real, *problems); !whole) return std::move(whole).error();
  return Json{{"contents", contents->contents}};
}

core::Result<Json> check(const Json& task, const Stop& stop) {
  auto real = sqlite::check_place(text(task, "database"));
  if (!real) return std::move(real).error();
  auto problems = patiently<std::vector<std::string>>(task, *real, stop, [&] { return sqlite::problems(*real, stop); });
  if (!problems) return std::move(problems).error();
  return Json{{"problems", *problems}};
}

}  // namespace

core::Result<Json> do_work(const Json& task, const Stop& stop) {
  try {
    const std::string what = text(task, "do");
    if (what == "copy") return copy(task, stop);
    if (what == "load") return load(task, stop);
    if (what == "check") return check(task, stop);
    return core::usage("inside: nobody knows how to " + core::clean(what.substr(0, 80)));
  } catch (const Json::exception& failure) {
    return core::usage(std::string("inside: ") + failure.what());
  }
}

core::Result<std::vector<std::string>> problems_of(const std::string& file, const std::string& sha256,
                                                   const std::string& scratch, std::int64_t& contents,
                                                   const Stop& stop) {
  const Temporary unpacked(scratch + "/drill.sqlite3");
  auto packed = unpack(file, unpacked.path(), sha256, stop);
  if (!packed) return std::move(packed).error();
  contents = packed->contents;
  return sqlite::problems(unpacked.path(), stop);
}

}  // namespace deployrun::backup
