// What the journal's tests share: a folder, a way to wait for an operation, and a run to write about.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "../../scratch.hpp"
#include "journal/local.hpp"

namespace deployrun::test {

/// A project's folder, with the place of its journal.
class Project : public Scratch {
 public:
  std::string state() const { return path(".deployrun"); }
  std::string database() const { return state() + "/journal.db"; }
};

template <class T>
core::Result<T> wait(core::Loop& loop, std::unique_ptr<core::Operation<T>> operation) {
  std::optional<core::Result<T>> outcome;
  operation->start([&](core::Result<T> result) { outcome.emplace(std::move(result)); });
  loop.run();
  if (!outcome) throw std::logic_error("the operation never completed");
  return std::move(*outcome);
}

inline core::Result<std::shared_ptr<journal::Journal>> open(core::Loop& loop, const Project& project,
                                                            journal::Options options = {}) {
  return wait(loop, journal::open_local(loop, project.state(), std::move(options)));
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
