#include "sqlite/mutex.hpp"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "core/pool.hpp"
#include "core/text.hpp"
#include "sqlite/patient.hpp"

namespace deployrun::sqlite {

namespace {

using Lock = std::shared_ptr<core::FileLock>;

core::Result<Lock> try_take(const std::string& path, const std::string& says) {
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

}  // namespace

std::unique_ptr<core::Operation<Lock>> acquire_mutex(core::Loop& loop, std::string path, std::string says,
                                                     core::Milliseconds patience) {
  return std::make_unique<Patient<Lock>>(
      loop, "the mutex " + std::filesystem::path(path).stem().string(), patience,
      [&loop, path, says = std::move(says)] {
        return std::make_unique<core::PoolJob<Lock>>(loop, [path, says] { return try_take(path, says); });
      },
      [path](core::Error error) {
        if (auto text = core::FileLock::look(path); text && *text && !(*text)->empty()) {
          error.message += ", held by " + core::clean(**text);
        }
        return error;
      });
}

}  // namespace deployrun::sqlite
