// What can be asked of the agent: databases, transactions, copies, mutexes, deploy locks and what is known of runs
// beside them. Runs on worker threads; connections and mutexes are known by numbers, and one connection is used by one
// request at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "agent/protocol.hpp"
#include "core/file_lock.hpp"
#include "lock/keeper.hpp"
#include "params.hpp"
#include "sqlite/backup.hpp"
#include "state.hpp"

namespace deployrun::agent {

/// A request that is being worked on, as the thread that reads sees it.
class Cancellation {
 public:
  const sqlite::Stop& stop() const noexcept { return stop_; }
  /// Stops what can be stopped: waiting at once, a statement soon, a copy at its next step. The first reason counts.
  void cancel(core::Error why);
  core::Error why() const;

 private:
  sqlite::Stop stop_{false};
  mutable std::mutex mutex_;
  core::Error why_;
};

class Requests {
 public:
  Requests();
  /// What `method` gives. Kinds of the sqlite module, `usage`, `agent.method` for a method that does not exist,
  /// `cancelled`, and what the cancellation says.
  ///
  /// Those of deploy locks (`lock.acquire` …) are lock::Keeper's; beside them, `lock.acquire` also gives `unfinished`
  /// (the run that State::unfinished tells, if there is one), and what State does is asked for by
  ///   lock.release        claim, run, rows → true: as journal.append, then the lock is free
  ///   journal.append      claim, run, rows → true: for the holder of the lock alone, to whom it is a sign of life
  ///   journal.unfinished  name → that run or false
  ///   journal.read        name, run → its rows or false
  ///   journal.releases    name, service, host, limit → the newest that it had, or false
  ///   journal.runs        name, limit → the newest runs with their rows
  core::Result<Json> answer(const std::string& method, const Json& params, Cancellation& cancellation);
  /// Rolls back every transaction and frees every mutex.
  void close_all();

 private:
  struct Connection {
    std::timed_mutex busy;
    std::string path;
    core::Milliseconds patience{};
    sqlite::Database database;
  };
  using Call = core::Result<Json> (Requests::*)(Params&, Cancellation&);
  static const std::map<std::string, Call, std::less<>>& calls();

  core::Result<Json> open(Params& params, Cancellation& cancellation);
  core::Result<Json> query(Params& params, Cancellation& cancellation);
  core::Result<Json> run(Params& params, Cancellation& cancellation);
  core::Result<Json> execute(Params& params, Cancellation& cancellation);
  core::Result<Json> begin(Params& params, Cancellation& cancellation);
  core::Result<Json> commit(Params& params, Cancellation& cancellation);
  core::Result<Json> rollback(Params& params, Cancellation& cancellation);
  core::Result<Json> was_done(Params& params, Cancellation& cancellation);
  core::Result<Json> mark_done(Params& params, Cancellation& cancellation);
  core::Result<Json> close(Params& params, Cancellation& cancellation);
  core::Result<Json> wait_free(Params& params, Cancellation& cancellation);
  core::Result<Json> snapshot(Params& params, Cancellation& cancellation);
  core::Result<Json> restore(Params& params, Cancellation& cancellation);
  core::Result<Json> check(Params& params, Cancellation& cancellation);
  core::Result<Json> holders(Params& params, Cancellation& cancellation);
  core::Result<Json> space(Params& params, Cancellation& cancellation);
  core::Result<Json> remove(Params& params, Cancellation& cancellation);
  core::Result<Json> move(Params& params, Cancellation& cancellation);
  core::Result<Json> reserve(Params& params, Cancellation& cancellation);
  core::Result<Json> lock(Params& params, Cancellation& cancellation);
  core::Result<Json> unlock(Params& params, Cancellation& cancellation);

  core::Result<Json> deploy_lock(const std::string& method, const Json& params, Cancellation& cancellation);
  core::Result<Json> release(const Json& params, Cancellation& cancellation);
  core::Result<Json> journal_append(Params& params, Cancellation& cancellation);
  core::Result<Json> journal_unfinished(Params& params, Cancellation& cancellation);
  core::Result<Json> journal_read(Params& params, Cancellation& cancellation);
  core::Result<Json> journal_releases(Params& params, Cancellation& cancellation);
  core::Result<Json> journal_runs(Params& params, Cancellation& cancellation);
  /// `work` on what is known beside the deploy lock of that name; false where nothing is.
  template <class Work>
  core::Result<Json> on_state(const std::string& name, Work work);

  core::Result<Json> statement(Params& params, Cancellation& cancellation, sqlite::Wish wish);
  std::shared_ptr<Connection> connection(Params& params);
  /// `work` on the connection, patiently.
  template <class Work>
  core::Result<Json> on_connection(Connection& connection, core::Milliseconds patience, Cancellation& cancellation,
                                   Work work);

  lock::Keeper keeper_;
  std::mutex state_busy_;
  std::mutex mutex_;
  std::int64_t last_ = 0;
  std::map<std::int64_t, std::shared_ptr<Connection>> connections_;
  std::map<std::int64_t, std::shared_ptr<core::FileLock>> locks_;
};

}  // namespace deployrun::agent
