#include "requests.hpp"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "patiently.hpp"
#include "sqlite/files.hpp"
#include "sqlite/mutex_file.hpp"
#include "sqlite/once.hpp"
#include "sqlite/place.hpp"

namespace deployrun::agent {

namespace {

constexpr std::size_t kMostHandles = 256;
constexpr core::Milliseconds kLookAtCancellation{50};
constexpr int kStepsBetweenLooks = 10'000;  // of SQLite's virtual machine
constexpr std::string_view kDeployLock = "lock.";

/// Where deploy locks are: in the home of the user who logs in, beside the agents.
std::string state_folder() {
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.deployrun" : std::string();
}

Json done(const core::Unit&) { return true; }
Json done(bool value) { return value; }
Json done(const sqlite::Rows& rows) { return to_json(rows); }
Json done(const sqlite::Copied& copied) { return Json{{"bytes", copied.bytes}, {"pages", copied.pages}}; }
Json done(const std::vector<std::string>& lines) { return lines; }

template <class T>
core::Result<Json> as_json(core::Result<T> result) {
  if (!result) return std::move(result).error();
  return done(*result);
}

sqlite::OpenOptions foreign(bool create, bool read_only) {
  return {.create = create, .read_only = read_only, .busy_timeout = core::Milliseconds(0), .foreign = true};
}

/// `work` on the place that `path` leads to, patiently.
template <class T, class Work>
core::Result<Json> on_place(const std::string& path, core::Milliseconds patience, Cancellation& cancellation,
                            Work work) {
  return as_json<T>(patiently<T>(
      path, patience, cancellation.stop(),
      [&]() -> core::Result<T> {
        auto real = sqlite::check_place(path);
        if (!real) return std::move(real).error();
        return work(*real);
      },
      [&](core::Error error) { return sqlite::name_holders(path, std::move(error)); }));
}

}  // namespace

Requests::Requests() : keeper_(state_folder()) {}

void Cancellation::cancel(core::Error why) {
  const std::lock_guard lock(mutex_);
  if (stop_.exchange(true)) return;
  why_ = std::move(why);
}

core::Error Cancellation::why() const {
  const std::lock_guard lock(mutex_);
  return why_;
}

const std::map<std::string, Requests::Call, std::less<>>& Requests::calls() {
  static const std::map<std::string, Call, std::less<>> kCalls = {
      {"open", &Requests::open},
      {"query", &Requests::query},
      {"run", &Requests::run},
      {"execute", &Requests::execute},
      {"begin", &Requests::begin},
      {"commit", &Requests::commit},
      {"rollback", &Requests::rollback},
      {"was_done", &Requests::was_done},
      {"mark_done", &Requests::mark_done},
      {"close", &Requests::close},
      {"wait_free", &Requests::wait_free},
      {"snapshot", &Requests::snapshot},
      {"restore", &Requests::restore},
      {"check", &Requests::check},
      {"holders", &Requests::holders},
      {"space", &Requests::space},
      {"remove", &Requests::remove},
      {"move", &Requests::move},
      {"reserve", &Requests::reserve},
      {"lock", &Requests::lock},
      {"unlock", &Requests::unlock},
      {"journal.append", &Requests::journal_append},
      {"journal.unfinished", &Requests::journal_unfinished},
      {"journal.read", &Requests::journal_read},
      {"journal.releases", &Requests::journal_releases},
      {"journal.runs", &Requests::journal_runs},
  };
  return kCalls;
}

core::Result<Json> Requests::answer(const std::string& method, const Json& params, Cancellation& cancellation) {
  auto result = [&]() -> core::Result<Json> {
    try {
      if (method.rfind(kDeployLock, 0) == 0) {
        return deploy_lock(method.substr(kDeployLock.size()), params, cancellation);
      }
      const auto found = calls().find(method);
      if (found == calls().end()) {
        return core::Error{.kind = "agent.method", .message = "deployrun-agent: no method is called " + method};
      }
      Params checked(method, params);
      return (this->*found->second)(checked, cancellation);
    } catch (const core::Failure& failure) {
      return failure.error();
    } catch (const std::exception& failure) {
      return core::Error{.kind = "internal", .message = "deployrun-agent: " + method + ": " + failure.what()};
    }
  }();
  // What was done all the same is told; what failed because it was stopped failed for that reason.
  if (!result && cancellation.stop()) return cancellation.why();
  return result;
}

void Requests::close_all() {
  const std::lock_guard lock(mutex_);
  connections_.clear();
  locks_.clear();
}

std::shared_ptr<Requests::Connection> Requests::connection(Params& params) {
  const std::int64_t number = params.integer("connection");
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(number);
  if (found == connections_.end()) {
    throw core::Failure(core::usage("no connection has the number " + std::to_string(number)));
  }
  return found->second;
}

template <class Work>
core::Result<Json> Requests::on_connection(Connection& connection, core::Milliseconds patience,
                                           Cancellation& cancellation, Work work) {
  using T = std::decay_t<decltype(*work(connection.database))>;
  // Another request may keep it for long: one that is cancelled does not wait for that.
  std::unique_lock busy(connection.busy, std::defer_lock);
  while (!busy.try_lock_for(kLookAtCancellation)) {
    if (cancellation.stop()) return core::cancelled();
  }
  if (cancellation.stop()) return core::cancelled();
  // Looked at while a statement runs. sqlite3_interrupt would be lost where it comes before the statement begins.
  struct Watched {
    Watched(sqlite3* of, const sqlite::Stop& stop) : database(of) {
      const auto stopped = [](void* flag) { return static_cast<const sqlite::Stop*>(flag)->load() ? 1 : 0; };
      sqlite3_progress_handler(database, kStepsBetweenLooks, stopped, const_cast<sqlite::Stop*>(&stop));
    }
    ~Watched() { sqlite3_progress_handler(database, 0, nullptr, nullptr); }
    sqlite3* database;
  };
  const Watched watched(connection.database.raw(), cancellation.stop());
  return as_json<T>(patiently<T>(
      connection.path, patience, cancellation.stop(), [&]() -> core::Result<T> { return work(connection.database); },
      [&](core::Error error) { return sqlite::name_holders(connection.path, std::move(error)); }));
}

core::Result<Json> Requests::open(Params& params, Cancellation& cancellation) {
  const std::string path = params.text("path");
  const auto options = foreign(params.flag("create", false), params.flag("read_only", false));
  const core::Milliseconds patience = params.patience();
  params.finish();
  {
    const std::lock_guard lock(mutex_);
    if (connections_.size() >= kMostHandles) return core::usage("too many connections are open");
  }
  std::shared_ptr<Connection> made;
  auto opened = on_place<core::Unit>(path, patience, cancellation, [&](const std::string& real) {
    auto database = sqlite::Database::open(real, options);
    if (!database) return core::Result<core::Unit>(std::move(database).error());
    made = std::shared_ptr<Connection>(new Connection{{}, real, patience, std::move(*database)});
    return core::Result<core::Unit>(core::Unit{});
  });
  if (!opened) return opened;
  const std::lock_guard lock(mutex_);
  connections_[++last_] = made;
  return Json{{"connection", last_}, {"path", made->path}};
}

core::Result<Json> Requests::statement(Params& params, Cancellation& cancellation, sqlite::Wish wish) {
  const auto there = connection(params);
  const std::string sql = params.text("sql");
  const sqlite::Values values = params.values();
  params.finish();
  return on_connection(*there, there->patience, cancellation,
                       [&](sqlite::Database& database) { return sqlite::run_statement(database, sql, values, wish); });
}

core::Result<Json> Requests::query(Params& params, Cancellation& cancellation) {
  return statement(params, cancellation, sqlite::Wish::read);
}

core::Result<Json> Requests::run(Params& params, Cancellation& cancellation) {
  return statement(params, cancellation, sqlite::Wish::change);
}

core::Result<Json> Requests::execute(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  const std::string sql = params.text("sql");
  params.finish();
  return on_connection(*there, there->patience, cancellation,
                       [&](sqlite::Database& database) { return database.execute(sql); });
}

core::Result<Json> Requests::begin(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  const bool exclusive = params.flag("exclusive", false);
  const core::Milliseconds patience = params.patience();
  params.finish();
  return on_connection(*there, patience, cancellation, [&](sqlite::Database& database) {
    return database.execute(exclusive ? "BEGIN EXCLUSIVE" : "BEGIN IMMEDIATE");
  });
}

core::Result<Json> Requests::commit(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  params.finish();
  return on_connection(*there, there->patience, cancellation,
                       [](sqlite::Database& database) { return database.execute("COMMIT"); });
}

core::Result<Json> Requests::rollback(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  params.finish();
  return on_connection(*there, there->patience, cancellation, [](sqlite::Database& database) {
    if (sqlite3_get_autocommit(database.raw()) != 0) return core::Result<core::Unit>(core::Unit{});
    return database.execute("ROLLBACK");
  });
}

core::Result<Json> Requests::was_done(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  const std::string key = params.text("key");
  params.finish();
  return on_connection(*there, there->patience, cancellation,
                       [&](sqlite::Database& database) { return sqlite::was_done(database, key); });
}

core::Result<Json> Requests::mark_done(Params& params, Cancellation& cancellation) {
  const auto there = connection(params);
  const std::string key = params.text("key");
  params.finish();
  return on_connection(*there, there->patience, cancellation,
                       [&](sqlite::Database& database) { return sqlite::mark_done(database, key); });
}

core::Result<Json> Requests::close(Params& params, Cancellation&) {
  const std::int64_t number = params.integer("connection");
  params.finish();
  std::shared_ptr<Connection> closed;  // dies outside of the lock: a rollback may take its time
  const std::lock_guard lock(mutex_);
  if (const auto found = connections_.find(number); found != connections_.end()) {
    closed = std::move(found->second);
    connections_.erase(found);
  }
  return Json(closed != nullptr);
}

core::Result<Json> Requests::wait_free(Params& params, Cancellation& cancellation) {
  const std::string path = params.text("path");
  const core::Milliseconds patience = params.patience();
  params.finish();
  return on_place<core::Unit>(path, patience, cancellation, [](const std::string& real) {
    auto database = sqlite::Database::open(real, foreign(false, false));
    if (!database) return core::Result<core::Unit>(std::move(database).error());
    return database->execute("BEGIN IMMEDIATE; ROLLBACK");
  });
}

core::Result<Json> Requests::snapshot(Params& params, Cancellation& cancellation) {
  const std::string from = params.text("from");
  const std::string to = params.text("to");
  const bool check = params.flag("check", true);
  const core::Milliseconds patience = params.patience();
  params.finish();
  return on_place<sqlite::Copied>(from, patience, cancellation, [&](const std::string& real) {
    return sqlite::snapshot(real, to, check, cancellation.stop());
  });
}

core::Result<Json> Requests::restore(Params& params, Cancellation& cancellation) {
  const std::string from = params.text("from");
  const std::string to = params.text("to");
  const core::Milliseconds patience = params.patience();
  params.finish();
  return on_place<sqlite::Copied>(to, patience, cancellation, [&](const std::string& real) {
    auto source = sqlite::check_place(from);
    if (!source) return core::Result<sqlite::Copied>(std::move(source).error());
    return sqlite::restore(*source, real, cancellation.stop());
  });
}

core::Result<Json> Requests::check(Params& params, Cancellation& cancellation) {
  const std::string path = params.text("path");
  const core::Milliseconds patience = params.patience();
  params.finish();
  return on_place<std::vector<std::string>>(path, patience, cancellation, [&](const std::string& real) {
    return sqlite::problems(real, cancellation.stop());
  });
}

core::Result<Json> Requests::holders(Params& params, Cancellation&) {
  const std::string path = params.text("path");
  params.finish();
  auto real = sqlite::check_place(path);
  if (!real) return std::move(real).error();
  return to_json(sqlite::find_holders(*real));
}

core::Result<Json> Requests::space(Params& params, Cancellation&) {
  const std::string path = params.text("path");
  params.finish();
  auto space = sqlite::space_of(path);
  if (!space) return std::move(space).error();
  return Json{{"bytes", space->bytes}, {"free", space->free}};
}

core::Result<Json> Requests::remove(Params& params, Cancellation&) {
  const std::string path = params.text("path");
  params.finish();
  return as_json<bool>(sqlite::remove_database(path));
}

core::Result<Json> Requests::move(Params& params, Cancellation&) {
  const std::string from = params.text("from");
  const std::string to = params.text("to");
  params.finish();
  return as_json<bool>(sqlite::move_database(from, to));
}

core::Result<Json> Requests::reserve(Params& params, Cancellation&) {
  const std::string path = params.text("path");
  const std::int64_t bytes = params.integer("bytes");
  params.finish();
  return as_json<core::Unit>(sqlite::reserve(path, bytes));
}

core::Result<Json> Requests::lock(Params& params, Cancellation& cancellation) {
  const std::string path = params.text("path");
  const std::string says = params.text("says");
  const core::Milliseconds patience = params.patience();
  params.finish();
  using Lock = std::shared_ptr<core::FileLock>;
  // A lock on a network file system holds for nobody else, as a database's does not.
  if (auto real = sqlite::check_place(path); !real && real.error().is("sqlite.network_filesystem")) {
    return std::move(real).error();
  }
  auto taken = patiently<Lock>(
      sqlite::mutex_title(path), patience, cancellation.stop(), [&] { return sqlite::try_mutex(path, says); },
      [&](core::Error error) { return sqlite::name_mutex_holder(path, std::move(error)); });
  if (!taken) return std::move(taken).error();
  const std::lock_guard lock(mutex_);
  if (locks_.size() >= kMostHandles) return core::usage("too many mutexes are held");
  locks_[++last_] = std::move(*taken);
  return Json{{"lock", last_}};
}

core::Result<Json> Requests::unlock(Params& params, Cancellation&) {
  const std::int64_t number = params.integer("lock");
  params.finish();
  const std::lock_guard lock(mutex_);
  return Json(locks_.erase(number) > 0);
}

}  // namespace deployrun::agent
