// The runs' journal (DESIGN.md §3): what was intended, what came back, who did it, so that any process can finish or
// undo a run. This is the interface; local.hpp keeps it in the project's folder. A copy of a run can be kept elsewhere
// (`copy`) and brought back from there (`restore`), where another machine goes on with it. What must stay true: a row
// is on disk before its operation completes, with every row before it; rows are never changed or removed; a run has at
// most one living owner; no secret reaches a row.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/operation.hpp"
#include "journal/record.hpp"

namespace deployrun::journal {

/// Around each row: `before` its transaction, `after` its commit.
enum class Point { before, after };

struct Options {
  /// Masks secrets; every text of every row passes it, on the loop's thread.
  std::function<std::string(std::string)> redact;
  /// Wall clock of the rows.
  std::function<std::chrono::system_clock::time_point()> now;
  /// The fault tests' seam, called on a pool thread. Rows count from 1 in this process, in the order of their commits.
  std::function<void(Point, int)> on_row;
  /// False: a journal that does not exist is `journal.missing` instead of being made.
  bool create = true;
};

/// Operations take effect in the order of their start. Texts must be UTF-8 (other bytes become U+FFFD).
class Journal {
 public:
  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  virtual ~Journal() = default;

  /// Opens a run and makes this process its owner; completes with its id. `journal.busy` (`run`, `pid`, `holder_host`)
  /// while a living process owns a run, `journal.unfinished` (`run`, `command`, `state`) while one waits to be resumed
  /// or aborted.
  virtual std::unique_ptr<core::Operation<std::string>> begin(RunInfo info) = 0;

  /// Makes this process the owner of an unfinished run whose owner is gone, and journals that. Completes with all that
  /// is known of it. `journal.busy`, `journal.unknown_run`; a finished run is `journal.finished`.
  virtual std::unique_ptr<core::Operation<Record>> take_over(Takeover takeover) = 0;

  /// The run that waits for a person's decision or is still going on (`owner` tells which), or nothing.
  virtual std::unique_ptr<core::Operation<std::optional<Record>>> unfinished() = 0;

  /// Commits one row of the run that this process owns (else `journal.not_owner`). Rows that wait together are
  /// committed together, in order. Cancelled while it waits, the row is not written; later the row stands.
  virtual std::unique_ptr<core::Operation<core::Unit>> append(Row row) = 0;

  /// Adds a row in front of the next one that is appended or finishes the run, and is committed with it: for what has
  /// to be on disk before the next change, not before the caller goes on. Until then a crash forgets it. What is wrong
  /// with the row itself (`journal.too_large`) is told at once, a failing disk by the row that takes it along.
  virtual core::Result<core::Unit> post(Row row) = 0;

  /// The end of the owned run. Any state but `running`; `needs_person` leaves it unfinished. Ownership ends here.
  virtual std::unique_ptr<core::Operation<core::Unit>> finish(Finish finish) = 0;

  /// The newest runs, newest first.
  virtual std::unique_ptr<core::Operation<std::vector<Record>>> history(std::int64_t limit) = 0;

  /// One run; `journal.unknown_run`.
  virtual std::unique_ptr<core::Operation<Record>> record(std::string run) = 0;

  /// The rows of a run that follow the first `after` ones, for a copy of it elsewhere. Nothing where the run is
  /// unknown.
  virtual std::unique_ptr<core::Operation<std::vector<CopiedRow>>> copy(std::string run, std::int64_t after) = 0;

  /// Takes the rows of a run from where a copy of it is, in the place of those that may be here: from then on the run
  /// is what they say. `journal.busy` while a living process owns a run here, `journal.unfinished` while another run
  /// waits here.
  virtual std::unique_ptr<core::Operation<core::Unit>> restore(std::string run, std::vector<CopiedRow> rows) = 0;

  /// The newest `limit` versions of a service that a host had, as it had them last, newest first.
  virtual std::unique_ptr<core::Operation<std::vector<Released>>> releases(std::string service, std::string host,
                                                                           std::int64_t limit) = 0;

  /// Recomputes the whole chain and completes with the number of rows; `journal.tampered` names the first bad row.
  virtual std::unique_ptr<core::Operation<std::int64_t>> verify() = 0;
};

}  // namespace deployrun::journal
