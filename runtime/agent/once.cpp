#include "once.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "command.hpp"
#include "core/error.hpp"
#include "core/file_lock.hpp"
#include "patiently.hpp"
#include "sqlite/holders.hpp"
#include "sqlite/mutex_file.hpp"
#include "sqlite/once.hpp"
#include "sqlite/place.hpp"

namespace deployrun::agent {

namespace {

const sqlite::Stop kNever{false};

int fail(const core::Error& error) {
  std::fprintf(stderr, "deployrun-agent: %s: %s\n", error.kind.c_str(), error.message.c_str());
  if (!error.hint.empty()) std::fprintf(stderr, "  hint: %s\n", error.hint.c_str());
  return error.is("sqlite.busy") ? kOnceBusy : kOnceFailed;
}

/// Looks or remembers, for as long as others keep the database busy.
template <class T>
core::Result<T> on_database(const std::string& path, bool create, core::Milliseconds patience,
                            core::Result<T> (*work)(sqlite::Database&, const std::string&), const std::string& key) {
  return patiently<T>(
      path, patience, kNever,
      [&]() -> core::Result<T> {
        auto database =
            sqlite::Database::open(path, {.create = create, .busy_timeout = core::Milliseconds(0), .foreign = true});
        if (!database) return std::move(database).error();
        return work(*database, key);
      },
      [&](core::Error error) { return sqlite::name_holders(path, std::move(error)); });
}

core::Result<bool> look(const std::string& path, const std::string& key, core::Milliseconds patience) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0 && errno == ENOENT) return false;
  return on_database<bool>(path, false, patience, sqlite::was_done, key);
}

}  // namespace

int run_once(const OnceOptions& options) {
  auto path = sqlite::check_place(options.database);
  if (!path) return fail(path.error());
  const auto began = std::chrono::steady_clock::now();
  const auto left = [&] {
    const auto passed = std::chrono::steady_clock::now() - began;
    return std::max(core::Milliseconds(0), options.timeout - std::chrono::duration_cast<core::Milliseconds>(passed));
  };

  auto known = look(*path, options.key, options.timeout);
  if (!known) return fail(known.error());
  if (*known) return 0;

  using Lock = std::shared_ptr<core::FileLock>;
  const std::string file = *path + ".once-lock";
  auto lock = patiently<Lock>(
      "once " + options.key, left(), kNever, [&] { return sqlite::try_mutex(file, options.command.front()); },
      [&](core::Error error) { return sqlite::name_mutex_holder(file, std::move(error)); });
  if (!lock) return fail(lock.error());
  known = look(*path, options.key, left());
  if (!known) return fail(known.error());
  if (*known) return 0;

  const CommandEnd end = run_command(options.command, (*lock)->descriptor());
  if (end.code == 0 && end.signal == 0) {
    auto marked = on_database<core::Unit>(*path, true, options.timeout, sqlite::mark_done, options.key);
    if (!marked) return fail(marked.error());
    return 0;
  }
  lock->reset();
  return pass_on(end);
}

}  // namespace deployrun::agent
