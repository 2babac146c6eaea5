#include "ssh/local_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>

#include "core/pool.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kPiece = 512U << 10U;
constexpr std::size_t kHashPiece = 64U << 10U;  // what a processor's cache holds

core::Error file_error(const std::string& path, const std::string& why) {
  return {.kind = "ssh.file", .message = "local file " + path + ": " + why};
}

std::string identity_of(const struct stat& status) {
  std::string text;
  for (const auto part : {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
                          static_cast<std::int64_t>(status.st_size), static_cast<std::int64_t>(status.st_mtim.tv_sec),
                          static_cast<std::int64_t>(status.st_mtim.tv_nsec)})
    text += std::to_string(part) + ":";
  return text;
}

core::Result<OpenedFile> open_now(const std::string& path) {
  auto file = std::make_shared<Descriptor>(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file->get() < 0 || ::fstat(file->get(), &status) != 0) return file_error(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return file_error(path, "not a regular file");
  return OpenedFile{std::move(file), static_cast<std::uint64_t>(status.st_size), identity_of(status)};
}

core::Result<core::Unit> read_into(char* bytes, int fd, std::uint64_t offset, std::size_t count,
                                   const std::string& path) {
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got = ::pread(fd, bytes + have, count - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(path, std::strerror(errno));
    if (got == 0) return file_error(path, "it became shorter while it was sent");
    have += static_cast<std::size_t>(got);
  }
  return core::Unit{};
}

core::Result<std::string> read_now(int fd, std::uint64_t offset, std::size_t count, const std::string& path) {
  std::string bytes(count, '\0');
  if (auto read = read_into(bytes.data(), fd, offset, count, path); !read) return read.error();
  return bytes;
}

core::Result<core::Unit> add_now(int fd, const std::string& path, std::uint64_t offset, std::uint64_t size,
                                 Sha256& sum) {
  const auto piece = std::make_unique_for_overwrite<char[]>(kHashPiece);
  for (std::uint64_t done = 0; done < size;) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kHashPiece, size - done));
    if (auto read = read_into(piece.get(), fd, offset + done, count, path); !read) return read;
    sum.add({piece.get(), count});
    done += count;
  }
  return core::Unit{};
}

}  // namespace

std::unique_ptr<core::Operation<OpenedFile>> open_local_file(core::Loop& loop, std::string path) {
  return std::make_unique<core::PoolJob<OpenedFile>>(loop, [path = std::move(path)] { return open_now(path); });
}

std::unique_ptr<core::Operation<std::string>> hash_of_range(core::Loop& loop, OpenedFile file, std::string path,
                                                            std::uint64_t offset, std::uint64_t size) {
  return std::make_unique<core::PoolJob<std::string>>(
      loop, [file = std::move(file), path = std::move(path), offset, size]() -> core::Result<std::string> {
        Sha256 sum;
        if (auto added = add_now(file.file->get(), path, offset, size, sum); !added) return added.error();
        return sum.hex();
      });
}

std::unique_ptr<core::Operation<core::Unit>> add_range(core::Loop& loop, OpenedFile file, std::string path,
                                                       std::uint64_t offset, std::uint64_t size,
                                                       std::shared_ptr<Sha256> sum) {
  return std::make_unique<core::PoolJob<core::Unit>>(
      loop, [file = std::move(file), path = std::move(path), offset, size, sum = std::move(sum)] {
        return add_now(file.file->get(), path, offset, size, *sum);
      });
}

std::unique_ptr<core::Operation<core::Unit>> unchanged(core::Loop& loop, OpenedFile file, std::string path) {
  return std::make_unique<core::PoolJob<core::Unit>>(
      loop, [file = std::move(file), path = std::move(path)]() -> core::Result<core::Unit> {
        struct stat status {};
        if (::fstat(file.file->get(), &status) != 0) return file_error(path, std::strerror(errno));
        if (identity_of(status) != file.identity) return file_error(path, "it was changed while it was sent");
        return core::Unit{};
      });
}

FileSource::FileSource(core::Loop& loop, OpenedFile file, std::string path)
    : loop_(loop), file_(std::move(file)), path_(std::move(path)), end_(file_.size) {}

FileSource::FileSource(core::Loop& loop, OpenedFile file, std::string path, std::uint64_t offset, std::uint64_t size,
                       std::shared_ptr<Sha256> sum)
    : loop_(loop),
      file_(std::move(file)),
      path_(std::move(path)),
      offset_(offset),
      end_(offset + size),
      sum_(std::move(sum)) {}

void FileSource::read(Read done) {
  const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, end_ - offset_));
  if (count == 0) return done(std::string{});
  job_ = std::make_unique<core::PoolJob<std::string>>(
      loop_, [file = file_.file, offset = offset_, count, path = path_, sum = sum_] {
        auto piece = read_now(file->get(), offset, count, path);
        if (piece && sum) sum->add(*piece);
        return piece;
      });
  job_->start([this, done = std::move(done)](core::Result<std::string> piece) {
    if (piece) {
      offset_ += piece->size();
      if (on_read) on_read(piece->size());
    }
    done(std::move(piece));
  });
}

void FileSource::write(std::string, Written done) { done(file_error(path_, "opened for reading")); }

/// Shared with the jobs, so that the last of them leaves nothing behind.
struct FileSink::File {
  File(std::string to, const std::string& origin) : path(std::move(to)) {
    const std::size_t slash = path.rfind('/');
    folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    part = folder + "/.deployrun-" + Sha256::of(origin + '\0' + path.substr(slash + 1)).substr(0, 32) + ".part";
  }
  ~File() {
    const bool keep = temporary == part && size >= kKeepFrom && !dropped;
    if (!temporary.empty() && !keep) ::unlink(temporary.c_str());
  }
  bool open_part();
  core::Result<core::Unit> read_kept();
  void sweep() const;

  std::string path, folder, part;
  std::string temporary;
  Descriptor descriptor;
  std::uint64_t size = 0;
  std::uint64_t kept = 0;
  std::string kept_sum;
  std::atomic<bool> dropped = false;
  Sha256 sum;
};

/// Ours alone: a plain file of this user, locked, and still the one of that name. False: somebody is at it.
bool FileSink::File::open_part() {
  struct stat status {};
  if (::lstat(part.c_str(), &status) == 0 &&
      (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || status.st_nlink != 1))
    return false;
  descriptor = Descriptor(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (descriptor.get() < 0 || ::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) return false;
  struct stat named {};
  return ::fstat(descriptor.get(), &status) == 0 && ::lstat(part.c_str(), &named) == 0 && S_ISREG(status.st_mode) &&
         status.st_uid == ::geteuid() && named.st_ino == status.st_ino && named.st_dev == status.st_dev;
}

core::Result<core::Unit> FileSink::File::read_kept() {
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) return file_error(part, std::strerror(errno));
  size = kept = static_cast<std::uint64_t>(status.st_size);
  for (std::uint64_t done = 0; done < kept;) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, kept - done));
    auto piece = read_now(descriptor.get(), done, count, part);
    if (!piece) return piece.error();
    sum.add(*piece);
    done += count;
  }
  if (kept > 0) kept_sum = sum.so_far();
  return core::Unit{};
}

/// Parts that nobody went on with for two days.
void FileSink::File::sweep() const {
  std::error_code wrong;
  for (std::filesystem::directory_iterator at(folder, wrong), end; !wrong && at != end; at.increment(wrong)) {
    const std::string name = at->path().filename().string();
    struct stat status {};
    if (name.starts_with(".deployrun-") && name.ends_with(".part") && ::lstat(at->path().c_str(), &status) == 0 &&
        S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && status.st_mtime < ::time(nullptr) - 2 * 24 * 3600)
      ::unlink(at->path().c_str());
  }
}

std::string FileSink::sum() { return file_->sum.hex(); }
std::uint64_t FileSink::kept() const noexcept { return file_->kept; }
const std::string& FileSink::kept_sum() const noexcept { return file_->kept_sum; }
void FileSink::drop() noexcept { file_->dropped = true; }

FileSink::FileSink(core::Loop& loop, std::string path, std::string origin)
    : loop_(loop), file_(std::make_shared<File>(std::move(path), origin)) {}
FileSink::~FileSink() = default;

void FileSink::run(std::function<core::Result<core::Unit>(File&)> work, Done done) {
  job_ = std::make_unique<core::PoolJob<core::Unit>>(loop_,
                                                     [file = file_, work = std::move(work)] { return work(*file); });
  job_->start(std::move(done));
}

void FileSink::open(Done done) {
  run(
      [](File& file) -> core::Result<core::Unit> {
        if (file.open_part()) {
          file.temporary = file.part;
          return file.read_kept();
        }
        std::string name = file.folder + "/.deployrun.XXXXXX";
        file.descriptor = Descriptor(::mkostemp(name.data(), O_CLOEXEC));
        if (file.descriptor.get() < 0) return file_error(file.path, std::strerror(errno));
        file.temporary = name;
        return core::Unit{};
      },
      std::move(done));
}

void FileSink::write(std::string bytes, bool from_start, Done done) {
  run(
      [bytes = std::move(bytes), from_start](File& file) -> core::Result<core::Unit> {
        const int fd = file.descriptor.get();
        if (from_start && file.size > 0) {
          if (::ftruncate(fd, 0) != 0) return file_error(file.path, std::strerror(errno));
          file.size = 0;
          file.sum = Sha256();
        }
        std::size_t put = 0;
        while (put < bytes.size()) {
          const ssize_t count =
              ::pwrite(fd, bytes.data() + put, bytes.size() - put, static_cast<off_t>(file.size + put));
          if (count < 0 && errno == EINTR) continue;
          if (count < 0) return file_error(file.path, std::strerror(errno));
          put += static_cast<std::size_t>(count);
        }
        file.size += put;
        file.sum.add(bytes);
        return core::Unit{};
      },
      std::move(done));
}

void FileSink::commit(mode_t mode, Done done) {
  run(
      [mode](File& file) -> core::Result<core::Unit> {
        const int fd = file.descriptor.get();
        if (::fchmod(fd, mode) != 0 || ::fsync(fd) != 0 ||
            std::rename(file.temporary.c_str(), file.path.c_str()) != 0) {
          return file_error(file.path, std::strerror(errno));
        }
        file.temporary.clear();
        if (file.size >= kKeepFrom) file.sweep();
        return core::Unit{};
      },
      std::move(done));
}

}  // namespace deployrun::ssh
