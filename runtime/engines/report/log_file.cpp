#include "report/log_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "report/event.hpp"

namespace deployrun::report {

namespace {

constexpr int kEverything = 3;

core::Error failure(const std::string& path, const std::string& why) {
  core::Error error{.kind = "report.log", .message = "log file " + path + ": " + why};
  error.hint = "the run goes on without it";
  error.details["path"] = path;
  return error;
}

/// A run's ID is a file's name: letters, digits and '-' alone.
bool is_name(const std::string& run) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !run.empty() && run.size() <= 64 && std::all_of(run.begin(), run.end(), plain);
}

}  // namespace

LogFile::LogFile(core::Loop& loop, LogFileOptions options)
    : loop_(loop),
      options_(std::move(options)),
      lines_([this](std::string_view text, bool) { write(text); },
             {.verbosity = kEverything, .color = false, .ci = Ci::none, .root = {}, .data = true, .log = {}}) {}

LogFile::~LogFile() {
  output_.reset();
  if (fd_ >= 0) ::close(fd_);
}

void LogFile::event(const Json& event) {
  if (path_.empty() && text_of(event, "type") == "run.started") {
    auto opened = open(text_of(event, "run"));
    if (!opened.ok()) {
      if (options_.failed) options_.failed(opened.error());
    } else {
      fd_ = *opened;
      output_ = std::make_unique<Output>(loop_, fd_, options_.limit);
      output_->write(options_.head + "\n");
    }
  }
  if (!output_) return;
  // "2026-11-21T09:00:00.123Z" → the time of day; the date is in the run's ID.
  const std::string time = text_of(event, "time");
  time_ = time.size() == 24 ? time.substr(11, 12) : std::string(12, ' ');
  lines_.event(event);
}

core::Result<int> LogFile::open(const std::string& run) {
  const std::string path = (options_.folder / (run + ".log")).string();
  if (!is_name(run)) return failure(path, "a run cannot be called that");
  std::error_code error;
  std::filesystem::create_directories(options_.folder.parent_path(), error);
  if (::mkdir(options_.folder.c_str(), 0700) != 0 && errno != EEXIST) return failure(path, std::strerror(errno));
  prune(run + ".log");
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
  if (fd < 0) return failure(path, std::strerror(errno));
  // One that was there already: ours, a plain file, and not readable by others.
  struct stat found {};
  if (::fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != ::geteuid() || found.st_nlink != 1 ||
      ::fchmod(fd, 0600) != 0) {
    ::close(fd);
    return failure(path, "something else stands there");
  }
  path_ = path;
  return fd;
}

/// Names begin with the date, so the first ones are the oldest.
void LogFile::prune(const std::string& newest) const {
  std::error_code error;
  std::vector<std::filesystem::path> logs;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder, error)) {
    if (entry.path().extension() == ".log" && entry.path().filename() != newest && entry.is_regular_file(error))
      logs.push_back(entry.path());
  }
  std::sort(logs.begin(), logs.end());
  const std::size_t keep = std::max<std::size_t>(options_.keep, 1) - 1;
  for (std::size_t i = 0; i + keep < logs.size(); ++i) std::filesystem::remove(logs[i], error);
}

void LogFile::write(std::string_view text) {
  if (!output_ || written_ > options_.limit) return;
  std::string stamped;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size() - 1) + 1;
    if (text.front() != '\n') stamped += time_ + "  ";
    stamped += text.substr(0, end);
    text.remove_prefix(end);
  }
  written_ += stamped.size();
  if (written_ > options_.limit) stamped = "(the log ends here: it has reached its largest size)\n";
  output_->write(stamped, true);
}

void LogFile::flush() {
  if (output_) output_->flush(core::Milliseconds(2000));
}

}  // namespace deployrun::report
