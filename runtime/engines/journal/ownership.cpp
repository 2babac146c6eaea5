#include "journal/ownership.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace deployrun::journal {

namespace {

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;  // l_pid must be 0 for open-file-description locks (fcntl(2))
}

Holder read_holder(int fd) {
  std::array<char, 512> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  if (size <= 0) return {};
  auto said = json::parse({text.data(), static_cast<std::size_t>(size)});
  if (!said || !said->is_object()) return {};
  try {
    return {.run = said->value("run", ""), .pid = said->value("pid", std::int64_t{0}), .host = said->value("host", "")};
  } catch (const json::Json::exception&) {  // not what we write: nothing to tell
    return {};
  }
}

core::Error busy(const Holder& holder) {
  core::Error error{.kind = "journal.busy",
                    .message = "another run is in progress",
                    .hint = "wait until it is done, or end that process"};
  if (!holder.run.empty()) error.message = "run " + holder.run + " is in progress";
  if (holder.pid != 0)
    error.message += ", pid " + std::to_string(holder.pid) + (holder.host.empty() ? "" : " on " + holder.host);
  error.details["run"] = holder.run;
  error.details["pid"] = holder.pid;
  error.details["holder_host"] = holder.host;
  return error;
}

core::Error failed(const char* what, const std::string& path, int code) {
  return {.kind = "journal.io", .message = std::string(what) + " " + path + ": " + std::strerror(code)};
}

}  // namespace

Ownership::Ownership(Ownership&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Ownership::~Ownership() {
  if (fd_ < 0) return;
  // Emptied while still held: no reader takes these words for the next holder's.
  [[maybe_unused]] const int ignored = ::ftruncate(fd_, 0);
  ::close(fd_);
}

core::Result<Ownership> Ownership::acquire(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return failed("open", path, errno);
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    const int code = errno;
    const Holder holder = read_holder(fd);
    ::close(fd);
    return code == EAGAIN || code == EACCES ? busy(holder) : failed("lock", path, code);
  }
  return Ownership(fd);
}

core::Result<std::optional<Holder>> Ownership::look(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return errno == ENOENT ? core::Result<std::optional<Holder>>(std::optional<Holder>()) : failed("open", path, errno);
  struct flock lock = whole_file(F_WRLCK);
  const bool known = ::fcntl(fd, F_OFD_GETLK, &lock) == 0;
  const int code = errno;
  std::optional<Holder> holder;
  if (known && lock.l_type != F_UNLCK) holder = read_holder(fd);
  ::close(fd);
  if (!known) return failed("look at the lock", path, code);
  return holder;
}

void Ownership::announce(const std::string& run) noexcept {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = json::dump({{"run", run}, {"pid", ::getpid()}, {"host", host.data()}}) + "\n";
  [[maybe_unused]] const bool written =
      ::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

}  // namespace deployrun::journal
