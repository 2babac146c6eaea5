// What the tests of this folder share: a folder that vanishes, and waiting for one operation.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <optional>
#include <string>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::core::test {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "deployrun-unit-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name = {}) const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  std::string path_;
};

/// Starts the operation and runs the loop until it has completed.
template <class T>
Result<T> run(Loop& loop, Operation<T>& operation) {
  std::optional<Result<T>> result;
  operation.start([&](Result<T> value) {
    result.emplace(std::move(value));
    loop.stop();
  });
  while (!result) loop.run();
  return std::move(*result);
}

/// Runs the loop until `done()` holds; a fresh look at least every 5 ms, for at most a minute.
template <class Done>
bool run_until(Loop& loop, Done done) {
  const Instant limit = Loop::now() + std::chrono::seconds(60);
  Timer look(loop);
  while (!done() && Loop::now() < limit) {
    look.start(Milliseconds{5}, [&] { loop.stop(); });
    loop.run();
  }
  return done();
}

}  // namespace deployrun::core::test
