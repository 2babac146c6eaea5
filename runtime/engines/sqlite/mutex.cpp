#include "sqlite/mutex.hpp"

#include <utility>

#include "core/pool.hpp"
#include "sqlite/mutex_file.hpp"
#include "sqlite/patient.hpp"

namespace deployrun::sqlite {

std::unique_ptr<core::Operation<std::shared_ptr<core::FileLock>>> acquire_mutex(core::Loop& loop, std::string path,
                                                                                std::string says,
                                                                                core::Milliseconds patience) {
  using Lock = std::shared_ptr<core::FileLock>;
  return std::make_unique<Patient<Lock>>(
      loop, mutex_title(path), patience,
      [&loop, path, says = std::move(says)] {
        return std::make_unique<core::PoolJob<Lock>>(loop, [path, says] { return try_mutex(path, says); });
      },
      [path](core::Error error) { return name_mutex_holder(path, std::move(error)); });
}

}  // namespace deployrun::sqlite
