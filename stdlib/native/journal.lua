--- The journal of runs: what was intended, what came back, so that any process can finish or undo a run
--- (docs/journal.md). Every call but `post` waits until its row is on the disk.

local raw = require "native.journal.raw"
local await = require("native.task").await

local Journal = {}
Journal.__index = Journal
local M = {}

--- @class Journal  of one project; opened, it is one process's connection

--- @class JournalWho
--- @field user? string
--- @field host? string     the operator's machine
--- @field actor? string    who asked for it in CI
--- @field version? string  deployrun's

--- @class TaskRecord
--- @field host string
--- @field state "started"|"done"|"failed"|"undo_started"|"undone"|"undo_failed"
--- @field attempt integer
--- @field result? any      what the step's `run` returned; stays through undo
--- @field error? table
--- @field started integer  wall clock, ms since 1970
--- @field ended? integer
--- @field ms integer
--- @field order integer    rises with every start: undo goes from high to low

--- @class RunRecord
--- @field id string
--- @field recipe string
--- @field command string
--- @field parameters table<string, any>
--- @field recipe_hash string
--- @field version string
--- @field user string
--- @field host string
--- @field actor string
--- @field revision string
--- @field state "running"|"done"|"failed_undone"|"aborted"|"needs_person"|"cancelled"
--- @field started integer  wall clock, ms since 1970
--- @field ended? integer
--- @field once table<string, any>
--- @field steps { ordinal: integer, name: string, tasks: TaskRecord[] }[]
--- @field releases { host: string, service: string, version: string }[]  with what else was noted of them
--- @field takeovers { mode: string, user: string, host: string, actor: string, version: string }[]
--- @field summary table
--- @field owner { alive: boolean, pid: integer, host: string }  whether a living process has the run

--- Opens the journal of this project. Raises `journal.unsafe`, `journal.newer`, `journal.corrupt`, `journal.io`, and
--- `journal.missing` where there is none and `create` is false.
--- @async
--- @param options? { create?: boolean, user?: string, host?: string, actor?: string, version?: string }
--- @return Journal
function M.open(options)
  options = options or {}
  local journal = {
    _who = { user = options.user, host = options.host, actor = options.actor, version = options.version },
  }
  journal._raw = await(raw.open(options.create ~= false))
  return setmetatable(journal, Journal)
end

local function with_who(self, fields)
  local all = {}
  for key, value in pairs(self._who) do all[key] = value end
  for key, value in pairs(fields) do all[key] = value end
  return all
end

--- Begins a run that this process then owns. Raises `journal.busy` (`run`, `pid`) while another process has one in
--- progress, `journal.unfinished` (`run`, `command`, `state`) while one waits to be resumed or aborted.
--- @async
--- @param info { recipe: string, command: string, parameters?: table, recipe_hash?: string, revision?: string }
--- @return string run  its id; ids sort by time
function Journal:begin(info)
  return await(self._raw:begin(with_who(self, info)))
end

--- Goes on with a run whose process is gone. Raises `journal.busy`, `journal.unknown_run`, `journal.finished`.
--- @async
--- @param takeover { run: string, mode: "resume"|"abort" }
--- @return RunRecord
function Journal:take_over(takeover)
  return await(self._raw:take_over(with_who(self, takeover)))
end

--- Adds a row to the run that this process owns: `{ type = "step", ordinal, name }`, `{ type = "once", name, value }`,
--- `{ type = "task", step, host, state, result, error, attempt, ms }` or `{ type = "release", host, service, version,
--- facts }`, each with `run`. Secrets are masked. Raises `journal.not_owner`, `journal.too_large`, `journal.io`.
--- @async
--- @param row table
function Journal:append(row)
  await(self._raw:append(row))
end

--- Adds a row as `append` does, without waiting: it is committed together with the next row that is appended, in front
--- of it, or with the end of the run. Until then a crash forgets it. Raises `journal.too_large`.
--- @param row table
function Journal:post(row)
  self._raw:post(row)
end

--- Ends the owned run. `needs_person` leaves it to be resumed or aborted.
--- @async
--- @param ending { run: string, state: string, summary?: table }
function Journal:finish(ending)
  await(self._raw:finish(ending))
end

--- The run that is in progress (`owner.alive`) or waits to be resumed or aborted.
--- @async
--- @return RunRecord?
function Journal:unfinished()
  return await(self._raw:unfinished())
end

--- The newest runs, newest first.
--- @async
--- @param limit? integer  default 20
--- @return RunRecord[]
function Journal:history(limit)
  return await(self._raw:history(limit or 20))
end

--- One run. Raises `journal.unknown_run`.
--- @async
--- @param run string
--- @return RunRecord
function Journal:record(run)
  return await(self._raw:record(run))
end

--- @class JournalCopiedRow  a row as it travels to where a copy of its run is kept
--- @field number integer  within the run, from 1
--- @field time integer
--- @field type string
--- @field body string     JSON
--- @field hash string     over it and the one before it

--- The rows of a run that follow the first `after` ones; none where the run is not known.
--- @async
--- @param run string
--- @param after integer
--- @return JournalCopiedRow[]
function Journal:copy(run, after)
  return await(self._raw:copy(run, after))
end

--- Takes a run from where a copy of it is kept: from then on it is what these rows say, whatever was known of it here.
--- Raises `journal.busy`, `journal.unfinished` while another run waits here, `journal.tampered`.
--- @async
--- @param run string
--- @param rows JournalCopiedRow[]  all of them
function Journal:restore(run, rows)
  await(self._raw:restore(run, rows))
end

--- What the rows of a copy say. Raises `journal.tampered`, `journal.corrupt`.
--- @param run string
--- @param rows JournalCopiedRow[]
--- @return RunRecord
M.record_of = raw.record_of

--- The newest `limit` versions of a service that a host had, as it had them last: what was noted of each, with `time`
--- (ms since 1970).
--- @async
--- @param service string
--- @param host string  its name
--- @param limit integer
--- @return { version: string, host: string, service: string, time: integer }[]  newest first
function Journal:releases(service, host, limit)
  return await(self._raw:releases(service, host, limit))
end

--- Checks the chain of all rows; raises `journal.tampered` (`row`).
--- @async
--- @return integer rows
function Journal:verify()
  return await(self._raw:verify())
end

--- Lets go of the journal; a run that this process still owns is then an unfinished one.
function Journal:close()
  self._raw:close()
end

return M
