// Waiting for a lock in a thread that has nothing else to do.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "core/result.hpp"
#include "sqlite/backup.hpp"
#include "sqlite/patience.hpp"

namespace deployrun::agent {

/// Does `work` until it is not `sqlite.busy` any more, `patience` at most; `explain` adds who holds what is busy.
template <class T>
core::Result<T> patiently(const std::string& what, core::Milliseconds patience, const sqlite::Stop& stop,
                          const std::function<core::Result<T>()>& work,
                          const std::function<core::Error(core::Error)>& explain) {
  const auto began = std::chrono::steady_clock::now();
  for (int attempts = 1;; ++attempts) {
    core::Result<T> result = work();
    if (result.ok() || !result.error().is("sqlite.busy")) return result;
    if (stop) return core::cancelled();
    const auto waited = std::chrono::duration_cast<core::Milliseconds>(std::chrono::steady_clock::now() - began);
    if (waited >= patience) return explain(sqlite::busy_for(what, waited, std::move(result).error()));
    std::this_thread::sleep_for(sqlite::pause_after(attempts));
  }
}

}  // namespace deployrun::agent
