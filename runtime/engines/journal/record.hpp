// What the journal knows, as values: the rows that are written and the record of a run that is folded from them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/result.hpp"
#include "json/json.hpp"

namespace deployrun::journal {

using json::Json;

enum class RunState { running, done, failed_undone, aborted, needs_person, cancelled };
enum class TaskState { started, done, failed, undo_started, undone, undo_failed };

const char* to_string(RunState state);
const char* to_string(TaskState state);
std::optional<RunState> parse_run_state(const std::string& text);
std::optional<TaskState> parse_task_state(const std::string& text);

/// What a run is: enough to execute it again from a fresh process.
struct RunInfo {
  std::string recipe;  ///< path as given, relative to the project where possible
  std::string command;
  Json parameters = Json::object();
  std::string recipe_hash;  ///< of the recipe's content and of what it required
  std::string version;      ///< deployrun's
  std::string user;
  std::string host;      ///< the operator's machine
  std::string actor;     ///< who asked for it in CI; empty elsewhere
  std::string revision;  ///< git commit of the project; empty where there is none
};

/// A value that is computed once per run (`run:once`).
struct Once {
  std::string run;
  std::string name;
  Json value;
};

struct Step {
  std::string run;
  std::int64_t ordinal = 0;  ///< from 1, in the order of the recipe
  std::string name;
};

/// One change of one task's state. `started` and `undo_started` are intents: committed before anything is touched.
struct Task {
  std::string run;
  std::int64_t step = 0;  ///< ordinal
  std::string host;
  TaskState state = TaskState::started;
  std::optional<Json> result;  ///< what the step's `run` returned; with `done` only
  std::optional<Json> error;   ///< an error as a table; with `failed` and `undo_failed`
  std::int64_t attempt = 1;
  std::optional<std::int64_t> ms;  ///< how long it took; not with intents
};

/// A version that serves on a host from now on, with what is needed to bring it back when its container is gone.
struct Release {
  std::string run;
  std::string host;
  std::string service;
  std::string version;
  Json facts = Json::object();  ///< what else the one who releases wants to know then (stdlib: deploy/app/records.lua)
};

using Row = std::variant<Once, Step, Task, Release>;

/// A fresh process goes on with a run.
struct Takeover {
  std::string run;
  std::string mode;  ///< "resume" or "abort"
  std::string version;
  std::string user;
  std::string host;
  std::string actor;
};

struct Finish {
  std::string run;
  RunState state = RunState::done;
  Json summary = Json::object();
};

/// The last word on one task, folded from its rows.
struct TaskRecord {
  std::string host;
  TaskState state = TaskState::started;
  std::optional<Json> result;  ///< survives undo rows, so that an undo can be repeated
  std::optional<Json> error;
  std::int64_t attempt = 1;
  std::int64_t started = 0;  ///< wall clock, ms since 1970, of the first row
  std::int64_t ended = 0;    ///< of the last row that is no intent; 0 before
  std::int64_t ms = 0;
  std::int64_t order = 0;  ///< place of its last `started` among the run's rows: undo goes from high to low
};

struct StepRecord {
  std::int64_t ordinal = 0;
  std::string name;
  std::vector<TaskRecord> tasks;  ///< by first start
};

/// Whether a process that lives owns the run. `pid` and `host` are what it wrote down, for messages.
struct Owner {
  bool alive = false;
  std::int64_t pid = 0;
  std::string host;
};

struct Record {
  std::string id;
  RunInfo info;
  RunState state = RunState::running;
  std::int64_t started = 0;  ///< wall clock, ms since 1970
  std::int64_t ended = 0;    ///< 0 while running
  std::map<std::string, Json> once;
  std::vector<StepRecord> steps;    ///< by ordinal
  std::vector<Takeover> takeovers;  ///< oldest first
  std::vector<Json> releases;       ///< bodies, in their order
  Json summary = Json::object();
  Owner owner;

  bool unfinished() const { return state == RunState::running || state == RunState::needs_person; }
};

/// A row as it is stored: its type and the JSON beside it.
struct StoredRow {
  std::int64_t number = 0;
  std::int64_t time = 0;
  std::string run;
  std::string type;
  std::string body;
};

/// A row of type `release` that is the newest of its host and version.
struct Released {
  std::int64_t time = 0;  ///< wall clock of who released it, ms since 1970
  Json body;
};

/// A row as it travels to where a copy of the run is kept: numbered from 1 within its run, and chained there.
struct CopiedRow {
  StoredRow row;
  std::string hash;
};

/// The shape in which they travel: `{number, time, type, body, hash}`.
Json to_json(const CopiedRow& row);
/// The rows of one run, whole from its beginning; `journal.corrupt` for another shape, `journal.tampered` (`row`) where
/// the chain is broken.
core::Result<std::vector<CopiedRow>> copied_rows(const std::string& run, const Json& rows);
/// What the rows of one run say.
core::Result<Record> record_of(const std::vector<CopiedRow>& rows);

/// Applies one row, in order. A row that makes no sense (unknown type, missing field) is `journal.corrupt`.
core::Result<core::Unit> apply(Record& record, const StoredRow& row);

std::string type_of(const Row& row);
const std::string& run_of(const Row& row);
Json body_of(const Row& row);
Json body_of(const RunInfo& info);
Json body_of(const Takeover& takeover);
Json body_of(const Finish& finish);

Json to_json(const Released& released);
/// The shape that Lua and `history --json` see (docs/journal.md).
Json to_json(const Record& record);

}  // namespace deployrun::journal
