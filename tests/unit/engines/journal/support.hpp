// What the journal's tests share: a folder, a way to wait for an operation, and a run to write about.
#pragma once

#include <stdlib.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

#include "journal/local.hpp"

namespace deployrun::test {

class Scratch {
 public:
  Scratch() : folder_((std::filesystem::temp_directory_path() / ("deployrun-test-" + std::string(6, 'X'))).string()) {
    if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no folder for the test");
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string state() const { return path(".deployrun"); }
  std::string database() const { return state() + "/journal.db"; }

 private:
  std::string folder_;
};

template <class T>
core::Result<T> wait(core::Loop& loop, std::unique_ptr<core::Operation<T>> operation) {
  std::optional<core::Result<T>> outcome;
  operation->start([&](core::Result<T> result) { outcome.emplace(std::move(result)); });
  loop.run();
  if (!outcome) throw std::logic_error("the operation never completed");
  return std::move(*outcome);
}

inline core::Result<std::shared_ptr<journal::Journal>> open(core::Loop& loop, const Scratch& scratch,
                                                            journal::Options options = {}) {
  return wait(loop, journal::open_local(loop, scratch.state(), std::move(options)));
}

inline journal::RunInfo info() {
  return {.recipe = "recipes/prod.lua",
          .command = "deploy",
          .parameters = {{"version", "3f2c1a9"}},
          .recipe_hash = "b1946ac9",
          .version = "0.1.0",
          .user = "ada",
          .host = "laptop",
          .actor = "",
          .revision = "3f2c1a9"};
}

inline journal::Row task(const std::string& run, const std::string& host, journal::TaskState state,
                         std::int64_t step = 1) {
  return journal::Task{.run = run, .step = step, .host = host, .state = state, .result = {}, .error = {}, .ms = {}};
}

}  // namespace deployrun::test
