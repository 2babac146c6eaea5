--- Check-lists as data: what must be so before a deploy, after it, before a rollback. All checks of a list run side by
--- side; the outcome is a table for people and an event for programs, and fails the run where a check that is
--- `required` fails. In front of a run's final step a failed list undoes the run.
---
---     local before = deploy.checks("before the deploy", app, {
---       { check = "reachable", required = true },
---       { check = "disk", free = "2GB", required = true },
---       { check = "command", name = "CI is green", command = { "bin/ci-status" }, required = true },
---     })
---     before:run(run, { version = run.version })

local fail = require "native.fail"
local json = require "native.json"
local kinds = require "deploy.checks.kinds"
local options_module = require "deploy.options"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}
local Checks = {}
Checks.__index = Checks

local TIMEOUT = "30s"

--- @class CheckEntry  and what its kind takes (docs/runbook.md)
--- @field check? string      a kind; or `run`
--- @field run? fun(context: CheckContext): boolean, string?  a check of one's own: whether it is so, and a few words
--- @field name? string       as it is shown
--- @field required? boolean  a failure fails the run
--- @field timeout? string    "30s" unless told

--- @class CheckContext
--- @field app App
--- @field version? string
--- @field run Run
--- @field since number  seconds since 1970, when the run began

--- @class CheckResult
--- @field name string
--- @field state "ok"|"warning"|"failed"  a warning: it failed and is not required
--- @field required boolean
--- @field ms integer
--- @field note string

--- @class Checks

local COMMON = { check = { "string" }, run = { "function" }, name = { "string" }, required = { "boolean" },
  timeout = { "duration" } }

local function check_entry(entry, what)
  local spec = {}
  for name, rule in pairs(COMMON) do spec[name] = rule end
  if (entry.check == nil) == (entry.run == nil) then fail.usage(what .. ": an entry has one of `check`, `run`") end
  if entry.check then
    local kind = kinds.all[entry.check]
    if not kind then
      fail.usage(("%s: no check is called %q"):format(what, entry.check),
        { hint = text.nearest_hint(entry.check, kinds.names), token = entry.check })
    end
    for name, rule in pairs(kind.takes) do spec[name] = rule end
  end
  options_module.check(entry, spec, ("%s, %s"):format(what, entry.name or entry.check or "an entry"))
  local check = entry.check and kinds.all[entry.check].check
  if check then check(entry) end
end

--- A check-list, checked when the recipe is read; connects to nothing.
--- @param title string
--- @param app App
--- @param entries CheckEntry[]
--- @return Checks
function M.new(title, app, entries)
  if type(title) ~= "string" or type(app) ~= "table" or type(entries) ~= "table" then
    fail.usage("deploy.checks: expected a title, an app and a list")
  end
  for _, entry in ipairs(entries) do check_entry(entry, ("deploy.checks %q"):format(title)) end
  return setmetatable({ title = title, app = app, entries = entries }, Checks)
end

local function one(entry, context)
  local began = task.now()
  local name = entry.name or kinds.all[entry.check].title(entry)
  local limit = text.parse_duration(entry.timeout or TIMEOUT)
  local ok, good, note = pcall(function()
    local answer
    task.within(limit, name, function()
      answer = { (entry.run or kinds.all[entry.check].run)(entry.run and context or entry, context) }
    end)
    return answer[1], answer[2]
  end)
  if task.cancellation() then error(task.cancellation(), 0) end
  if not ok then good, note = false, fail.normal(good).message end
  return { name = name, state = good and "ok" or entry.required and "failed" or "warning",
    required = entry.required or false, ms = math.floor(task.now() - began + 0.5), note = note or "" }
end

--- The outcome for people: a line for each check.
--- @param title string
--- @param results CheckResult[]
--- @return string
function M.table_text(title, results)
  local width = 0
  for _, result in ipairs(results) do width = math.max(width, #result.name) end
  local lines = { "checks " .. title .. "\n" }
  for _, result in ipairs(results) do
    local note = result.note:gsub("%s*\n%s*", "; ")
    lines[#lines + 1] = ("  %-8s %s%s  %7s  %s%s\n"):format(result.state, result.name, (" "):rep(width - #result.name),
      text.format_duration(result.ms), note, result.state == "warning" and " (not required)" or "")
  end
  return table.concat(lines)
end

--- Runs all checks as a step of the run. Raises `checks.failed` where a required one fails.
--- @async
--- @param run Run
--- @param given? { version?: string }
--- @return CheckResult[]
function Checks:run(run, given)
  local context = { app = self.app, run = run, version = given and given.version, since = run:began() }
  return run:step(self.title, {
    reads = true,
    run = function()
      local results = {}
      local options = { on_failure = "finish", name = function(entry) return entry.name or entry.check or "own" end }
      local outcomes = task.each(self.entries, options, function(entry) return one(entry, context) end)
      for index, outcome in ipairs(outcomes) do
        if not outcome.ok then error(outcome.error or fail.make("cancelled", "not checked"), 0) end
        results[index] = outcome.value
      end
      self:_tell(results)
      return { results = results, note = #results == 1 and "1 check" or ("%d checks"):format(#results) }
    end,
  })["local"].results
end

function Checks:_tell(results)
  report.emit { type = "checks", title = self.title, checks = json.array(results),
    text = M.table_text(self.title, results) }
  local failed = {}
  for _, result in ipairs(results) do
    if result.state == "failed" then failed[#failed + 1] = ("%s (%s)"):format(result.name, result.note) end
  end
  if #failed == 0 then return end
  fail.raise("checks.failed", ("%d of %d checks failed: %s"):format(#failed, #results, table.concat(failed, "; ")),
    { checks = failed, hint = "mend what they name; `required = false` lets a run go on all the same" })
end

return M
