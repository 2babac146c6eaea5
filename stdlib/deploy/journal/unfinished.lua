--- A run that did not end, of this machine or of one that is gone: nothing begins beside it, and --resume and --abort
--- go on with it. What the primary host knows of it counts (deploy/journal/state.lua).

local fail = require "native.fail"
local log = require "native.log"
local state_module = require "deploy.journal.state"
local task = require "native.task"

local M = {}

local DEADLINE = 60000  -- ms for making an unfinished run ours

local function refusal(record)
  local message = ("run %s (%s of %s) did not finish"):format(record.id, record.command, record.recipe)
  return fail.make("journal.unfinished", message, {
    run = record.id,
    hint = ("finish it: deployrun %s --resume   or undo it: deployrun %s --abort"):format(record.recipe, record.recipe),
  })
end

local function is_waiting(record) return record and not (record.owner and record.owner.alive) end

--- Refuses to begin beside a run that waits, unless the primary host knows that somebody has seen to it meanwhile.
--- Raises `journal.unfinished`.
--- @async
--- @param request Request
--- @param journal RunJournal
function M.check(request, journal)
  local record = journal:unfinished()
  if not is_waiting(record) then return end
  if not request.plan then
    local state = state_module.new(journal, "run")
    local ok, place = pcall(state.find, state, record.id, record.recipe)
    if not ok and task.cancellation() then error(place, 0) end
    if ok and place then
      state:sync(place, record.id)
      record = journal:unfinished()
    end
  end
  if is_waiting(record) then error(refusal(record), 0) end
end

--- @class UnfinishedRun  as far as it is known before its lock is held
--- @field run string           "" where nobody was found to know one
--- @field command string
--- @field parameters table
--- @field place LockPlace?     whose primary host knows it
--- @field state State

--- Where the run that is to be resumed or aborted is known. What only this machine knows of is its own.
--- @async
--- @param request Request
--- @param journal RunJournal
--- @param state State
--- @return UnfinishedRun
function M.find(request, journal, state)
  local record = journal:unfinished()
  local out = { run = record and record.id or "", command = record and record.command or "",
    parameters = record and record.parameters or {}, state = state }
  if record and not is_waiting(record) then return out end
  local ok, place, found = pcall(state.find, state, record and record.id, request.info.recipe)
  if ok then
    if place then out.place, out.run, out.command = place, found.run, record and out.command or found.command or "" end
    return out
  end
  -- Without the primary host nothing can be changed anyway: its lock is asked for first.
  if not record or task.cancellation() then error(place, 0) end
  log.warn(("only this machine was asked about run %s: %s"):format(record.id, fail.normal(place).message))
  return out
end

--- The record of the run that --resume or --abort is about, owned by this process from here on.
local function take_over_here(request, journal)
  local record = journal:unfinished()
  if not record then
    fail.usage(("nothing to %s: no run is unfinished"):format(request.mode),
      { hint = "deployrun history shows past runs" })
  end
  if record.recipe ~= request.info.recipe then
    fail.usage(("run %s belongs to %s, not to %s"):format(record.id, record.recipe, request.info.recipe),
      { hint = ("deployrun %s --%s"):format(record.recipe, request.mode) })
  end
  if record.recipe_hash ~= request.info.recipe_hash and not request.force then
    fail.raise("recipe.changed", ("%s changed since run %s began"):format(request.info.recipe, record.id),
      { hint = "bring it back to what it was, or say --force if the change does not matter to the steps" })
  end
  local undoing = false
  for _, step in ipairs(record.steps) do
    for _, entry in ipairs(step.tasks) do
      if entry.state:match("^undo") or entry.state == "undone" then undoing = true end
    end
  end
  if undoing and request.mode == "resume" then
    fail.usage(("run %s was already being undone"):format(record.id),
      { hint = ("deployrun %s --abort"):format(record.recipe) })
  end
  -- Whole or not at all: a signal that comes meanwhile is heard once the run is ours, and undoes it.
  return task.shielded(DEADLINE, "the journal", function()
    return journal:take_over { run = record.id, mode = request.mode }
  end)
end

--- Makes the run ours, under its lock and with what the primary host knows of it. Raises `usage` where there is none or
--- it is another one's, `recipe.changed`, and what taking a lock raises.
--- @async
--- @param request Request
--- @param journal RunJournal
--- @param known UnfinishedRun
--- @param locks Locks
--- @param name string?  of the command that is expected
--- @return RunRecord
function M.take_over(request, journal, known, locks, name)
  if known.place then
    locks:take(known.place)
    known.state:sync(known.place, known.run)
  end
  local record = take_over_here(request, journal)
  if name and name ~= record.command then
    fail.usage(("run %s executes `%s`, not `%s`"):format(record.id, record.command, name))
  end
  return record
end

return M
