#include "sqlite/mutex_file.hpp"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "core/text.hpp"

namespace deployrun::sqlite {

core::Result<std::shared_ptr<core::FileLock>> try_mutex(const std::string& path, const std::string& says) {
  std::error_code ignored;
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && std::filesystem::create_directories(folder, ignored)) {
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, ignored);
  }
  auto lock = core::FileLock::try_acquire(path);
  if (!lock) return std::move(lock).error();
  if (!*lock) return core::Error{.kind = "sqlite.busy", .hint = "wait until it is done, or end that process"};
  auto taken = std::make_shared<core::FileLock>(std::move(**lock));
  taken->announce("process " + std::to_string(::getpid()) + ", " + says);
  return taken;
}

std::string mutex_title(const std::string& path) { return "the mutex " + std::filesystem::path(path).stem().string(); }

core::Error name_mutex_holder(const std::string& path, core::Error error) {
  if (auto text = core::FileLock::look(path); text && *text && !(*text)->empty()) {
    error.message += ", held by " + core::clean(**text);
  }
  return error;
}

}  // namespace deployrun::sqlite
