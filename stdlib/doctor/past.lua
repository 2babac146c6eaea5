--- What the journal and the lock tell: a run that is unfinished, the newest one failed and why, a lock that stays.

local explain = require "doctor.explain"
local fail = require "native.fail"
local lock = require "deploy.lock"
local text = require "native.text"

local M = { needs = "none" }

local HELD_LONG = 3600000  -- ms

M.FINDINGS = {
  { id = "run.unfinished", severity = "error", title = "run {run} ({command}) is unfinished",
    cause = "its process ended in the middle; nothing else begins until it is finished or undone",
    fix = "deployrun {recipe} --resume    finishes it, deployrun {recipe} --abort    undoes it" },
  { id = "run.failed", severity = "warning", title = "the newest run, {run} ({command}), failed: {title}",
    cause = "{cause}", fix = "{mend}" },
  { id = "lock.held_long", severity = "warning", title = "the deploy lock {name} is held by {owner} for {age}",
    cause = "{why}", fix = "{mend}" },
}

--- The error with which a run failed: the newest one that is no mere cancellation.
local function error_of(record)
  local found
  for _, step in ipairs(record.steps or {}) do
    for _, one in ipairs(step.tasks or {}) do
      if one.error and (not found or found.error.kind == "cancelled" or one.error.kind ~= "cancelled") then
        found = { error = one.error, step = step.name, host = one.host }
      end
    end
  end
  return found
end

--- Says what the newest run of a journal shows.
--- @param record RunRecord
--- @param say fun(id: string, facts: table)
function M.say_run(record, say)
  local facts = { run = record.id, command = record.command, recipe = record.recipe }
  local alive = record.owner and record.owner.alive
  if (record.state == "running" and not alive) or record.state == "needs_person" then
    return say("run.unfinished", facts)
  end
  if record.state ~= "failed_undone" then return end
  local failed = error_of(record)
  if not failed then return end
  local id, more = explain.of(failed.error)
  local meant = require("doctor.finding").make(id, more, failed.host)
  facts.title, facts.cause, facts.mend = meant.title, meant.cause, meant.fix
  facts.evidence = { ("%s, %s"):format(failed.host, failed.step), unpack(meant.evidence) }
  say("run.failed", facts)
end

local function say_lock(place, doctor, say)
  local ok, status = pcall(lock.status, place)
  local holder = ok and status.holder
  if not holder or ((holder.age_ms or 0) < HELD_LONG and not holder.by_hand) then return end
  say("lock.held_long", { name = place.name, owner = holder.owner, age = text.format_duration(holder.age_ms or 0),
    why = holder.by_hand and "it was taken by hand: nobody can deploy until it is given back"
      or "a deploy takes long, or waits for something",
    mend = ("deployrun %s lock release    or, where its owner is gone: deployrun %s lock break --id %s"):format(
      doctor.recipe, doctor.recipe, holder.id), evidence = { lock.words(holder) } })
end

--- @param doctor Doctor
--- @param say fun(id: string, facts: table)
function M.once(doctor, say)
  local ok, journal = pcall(require("native.journal").open, { create = false })
  if ok then
    local record = journal:history(1)[1]
    if record then M.say_run(record, say) end
  elseif fail.normal(journal).kind ~= "journal.missing" then
    error(journal, 0)
  end
  for _, place in ipairs(lock.declared()) do say_lock(place, doctor, say) end
end

return M
