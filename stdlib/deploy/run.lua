--- A run: one execution of a command. Hands its steps to deploy/step.lua, keeps their order for undo, and replays what
--- a journal already holds when an interrupted run is resumed or aborted.

local fail = require "native.fail"
local report = require "native.report"
local step_module = require "deploy.step"
local task = require "native.task"
local text = require "native.text"
local undo = require "deploy.undo"

local Run = {}
local M = {}

local BEGIN_DEADLINE = 60000  -- ms for the journal's first row
local UNDO_DEADLINE = 3600000  -- ms for undoing a whole run
local UNLOCK_DEADLINE = 30000  -- ms for giving locks back
local FINAL_DEADLINE = 3600000  -- ms for a final step, which a cancellation does not end

--- @class Run
--- @field id string
--- @field params table  the command's parameters; each is also a field of the run
--- @field step fun(self: Run, name: string, options: StepOptions): table
--- @field once fun(self: Run, name: string, fn: fun(): any): any
--- @field began fun(self: Run): integer  seconds since 1970

--- Raised inside the recipe to leave it once an abort has replayed all that was recorded.
local REPLAYED = {}

--- @param context { journal: table?, info: table, params: table, record: table?, mode: string, localhost: Host,
---        plan: table?, locks: Locks?, began: number? }
---        `mode`: "run", "resume", "abort"; `record`: what the journal holds of the run (not with "run");
---        no journal: a command that only reads; `plan`: changes are recorded there, not made (deploy/plan.lua)
--- @return Run
function M.new(context)
  local run = { params = context.params, steps = {}, id = context.record and context.record.id, changing = false }
  run._context, run._began, run._invoked = context, os.time(), context.began or task.now()
  return setmetatable(run, {
    __index = function(self, key)
      if Run[key] then return Run[key] end
      if key == "id" then return nil end  -- the run's own, once it has one; a parameter of that name is in `params`
      return rawget(self, "params")[key]
    end,
  })
end

--- The journal's run begins with the first step or recorded value: a recipe that fails before leaves no trace.
function Run:_begin()
  local context = self._context
  if self.id or not context.journal then return end
  -- Its id must be known once it is on the disk: a signal that comes meanwhile is heard after that.
  local function begin()
    return task.shielded(BEGIN_DEADLINE, "the journal", function() return context.journal:begin(context.info) end)
  end
  self.id = context.locks and context.locks:wait_for_journal(begin) or begin()
  report.emit { type = "run.started", run = self.id, recipe = context.info.recipe, command = context.info.command,
    parameters = context.params }
  local notify = package.loaded["deploy.notify"]
  if notify then
    -- Beside the run: nobody waits for somebody else's webhook.
    task.spawn(function()
      notify.tell("start", nil, function(as) return notify.message(as, context.info, { run = self.id }) end)
    end, { name = "notification of the start", observed = true })
  end
end

function Run:_append(row)
  if not self._context.journal then return end
  row.run = self.id
  self._context.journal:append(row)
end

--- A row that need not be on the disk before the next change is made.
function Run:_post(row)
  if not self._context.journal then return end
  row.run = self.id
  self._context.journal:post(row)
end

--- Makes one task of a step, or undoes it; a spec may let it fail.
function Run:_perform(step, host, undone, result)
  local plan = self._context.plan
  if plan then return plan:perform(step, host, undone, result) end
  if undone then return step.options.undo(host, result) end
  return step.options.run(host)
end

--- Tells whoever watches; of a plan only the plan is told.
function Run:_report(event)
  local plan = self._context.plan
  if plan then return plan:report(event) end
  report.emit(event)
end

local function recorded_step(self, ordinal)
  local record = self._context.record
  return record and record.steps[ordinal]
end

local function adopt(self, step)
  local recorded = recorded_step(self, step.ordinal)
  if not recorded then return false end
  if recorded.name ~= step.name then
    local message = ("step %d was %q when the run began and is %q now"):format(step.ordinal, recorded.name, step.name)
    fail.raise("recipe.changed", message,
      { hint = "bring the recipe back to what it was, then try again" })
  end
  local by_name = {}
  for _, host in ipairs(step.hosts) do by_name[host.name] = host end
  for _, entry in ipairs(recorded.tasks) do
    local host = by_name[entry.host]
    if not host then
      local message = ("step %q ran on %s, which the recipe does not name any more"):format(step.name, entry.host)
      fail.raise("recipe.changed", message,
        { hint = "name the host again, then try again" })
    end
    step.tasks[entry.host] = { host = host, state = entry.state, result = entry.result, attempt = entry.attempt or 1 }
  end
  return true
end

local function all_done(step)
  for _, host in ipairs(step.hosts) do
    local record = step.tasks[host.name]
    if not record or record.state ~= "done" then return false end
  end
  return true
end

local function results_of(step)
  local results = {}
  for _, host in ipairs(step.hosts) do
    local record = step.tasks[host.name]
    results[host.name] = record and record.result
  end
  -- results[host] and results["name"] both work; a host object is never stored, so that the table stays plain.
  return setmetatable(results, {
    __index = function(_, key) return type(key) == "table" and rawget(results, key.name) or nil end,
  })
end

--- Executes a step under the run's locks, if it has any.
local function locked(self, step)
  local locks = self._context.locks
  local function work() step_module.execute(self, step) end
  if not locks then return work() end
  if not step.options.reads then return locks:within(work) end
  locks:hold_beside(step.hosts, work, function() step.tasks = {} end)
end

--- Executes a step. A final one goes on although the run is cancelled, the locks' own task below it included: nothing
--- could bring back what it lets go.
local function execute(self, step)
  if not step.options.final then return locked(self, step) end
  self._final = true
  task.shielded(FINAL_DEADLINE, step.name, function() locked(self, step) end)
  if task.cancellation() and not self._told_too_late then
    self._told_too_late = true
    report.emit { type = "log", level = "warn", step = step.name,
      message = ("%s: too late, %q cannot be undone and was finished"):format(task.cancellation().message, step.name) }
  end
end

--- Runs a step on its hosts and returns what each task returned, by host or host name. Raises when it failed.
--- @async
--- @param name string
--- @param declaration StepOptions
--- @return table results
function Run:step(name, declaration)
  local context = self._context
  local step = step_module.new(name, declaration, context.localhost)
  step.ordinal = #self.steps + 1
  local before = self.steps[#self.steps]
  if before and before.options.final and not declaration.final then
    fail.usage(("step %q comes after the final step %q"):format(name, before.name),
      { hint = "a final step is the last one" })
  end
  if context.mode == "abort" then
    if not adopt(self, step) then error(REPLAYED, 0) end
    if declaration.final and next(step.tasks) then
      context.mode = "resume"
      report.emit { type = "log", level = "warn", step = name,
        message = ("too late to undo: %q had begun, so the run is finished instead"):format(name) }
    end
  end
  if context.mode == "abort" then
    self.steps[step.ordinal] = step
    if not all_done(step) and not recorded_step(self, step.ordinal + 1) then error(REPLAYED, 0) end
    return results_of(step)
  end
  local recorded = adopt(self, step)
  local finished = recorded and all_done(step)
  local locks = context.locks
  if locks and not finished and not declaration.reads then locks:hold(step.hosts) end
  self:_begin()
  self.steps[step.ordinal] = step
  if finished then
    report.emit { type = "step.finished", step = name, state = "recorded" }
    return results_of(step)
  end
  if not recorded then self:_post { type = "step", ordinal = step.ordinal, name = name } end
  if not declaration.reads and not (context.plan and context.plan.ends_at_failure) then self.changing = true end
  self:_report { type = "step.started", step = name, hosts = #step.hosts, ordinal = step.ordinal,
    where = step.where }
  local began = task.now()
  if context.plan then context.plan:begin_step(name, declaration, step.hosts) end
  local ok, err = pcall(execute, self, step)
  if context.plan then context.plan:end_step() end
  self:_report { type = "step.finished", step = name, state = ok and "done" or "failed",
    ms = math.floor(task.now() - began + 0.5) }
  if not ok then error(err, 0) end
  return results_of(step)
end

--- A value that must be the same when the run is resumed (time, random, what git says): computed once, then recorded.
--- @async
--- @param name string
--- @param fn fun(): any  JSON-able
--- @return any
function Run:once(name, fn)
  local record = self._context.record
  if record and record.once and record.once[name] ~= nil then return record.once[name] end
  if self._context.mode == "abort" then error(REPLAYED, 0) end
  self:_begin()
  local value = fn()
  self:_post { type = "once", name = name, value = value }
  return value
end

--- When the run began, by the operator's clock, also where another process goes on with it.
--- @return integer seconds  since 1970
function Run:began()
  local record = self._context.record
  return record and math.floor(record.started / 1000) or rawget(self, "_began")
end

--- What comes once all is done and nothing is undone any more: telling somebody, a hook. A signal does not end it;
--- where it fails the run stays done, and the exit code is 1.
--- @async
--- @param name string
--- @param fn fun()
function Run:afterwards(name, fn)
  if self._context.mode == "abort" then return end
  local ok, err = pcall(task.shielded, FINAL_DEADLINE, name, fn)
  if not ok then self._late = self._late or fail.normal(err) end
end

--- How long this process has been at it, for people: "1.3 s".
--- @return string
function Run:elapsed() return text.format_duration(math.floor(task.now() - self._invoked + 0.5)) end

--- Says something to whoever watches.
--- @param message string
function Run:log(message)
  self:_report { type = "log", level = "info", message = message }
end

local function finish(self, state, summary)
  if not self.id or not self._context.journal then return end
  task.shielded(UNDO_DEADLINE, "journal", function()
    self._context.journal:finish { run = self.id, state = state, summary = summary or {} }
  end)
end

--- The hosts on which something may have to be undone.
local function touched_hosts(self)
  local hosts, seen = {}, {}
  for _, step in pairs(self.steps) do
    for _, host in ipairs(step.options.undo and step.hosts or {}) do
      if step.tasks[host.name] and not seen[host] then hosts[#hosts + 1] = host end
      seen[host] = seen[host] or step.tasks[host.name] ~= nil
    end
  end
  return hosts
end

--- Has the locks again, for undoing; what is wrong otherwise.
local function hold_again(self)
  local locks, hosts = self._context.locks, touched_hosts(self)
  if not locks or #hosts == 0 then return nil end
  local ok, err = pcall(locks.hold, locks, hosts, true)
  return not ok and fail.normal(err) or nil
end

local function undo_all(self)
  local failures, left = {}, {}
  task.shielded(UNDO_DEADLINE, "undo", function()
    local unlocked = hold_again(self)
    if unlocked then
      failures, left = { unlocked }, { "nothing was undone, because the deploy lock is not held: " .. unlocked.message }
    else
      failures, left = undo.run(self)
    end
  end)
  return failures, left
end

--- Executes the command's function and settles the run: done, or undone, or waiting for a person.
--- @async
--- @param fn fun(run: Run)
--- @return { state: string, error: table?, left: string[]?, next: string?, changed: boolean }
function Run:execute(fn)
  local ok, result = pcall(self._settle, self, fn)
  local locks = self._context.locks
  if locks then task.shielded(UNLOCK_DEADLINE, "the deploy lock", function() locks:close() end) end
  if not ok then error(result, 0) end
  return result
end

function Run:_settle(fn)
  local ok, err = pcall(fn, self)
  if self._context.mode == "abort" then
    if not ok and err ~= REPLAYED then return { state = "unchanged", error = fail.normal(err) } end
    local unlocked = hold_again(self)
    if unlocked then return { state = "unchanged", error = unlocked } end
    local failures, left = undo_all(self)
    if #failures > 0 then
      finish(self, "needs_person", { left = left })
      return { state = "needs_person", error = failures[1], left = left }
    end
    finish(self, "aborted")
    return { state = "aborted" }
  end
  if ok then
    finish(self, "done")
    return { state = "done", error = self._late, changed = self.changing }
  end
  err = fail.normal(err)
  local plan = self._context.plan
  if plan and plan.ends_at_failure then
    return { state = task.cancellation() and "cancelled" or "failed", error = err }
  end
  local changed = self.changing
  local locks = self._context.locks
  if self._context.mode == "resume" and locks and not locks:any() and err.kind == "lock.held" then
    return { state = "unchanged", error = err }
  end
  if self._final then
    local left = { "the last step is not finished: --resume finishes it" }
    finish(self, "needs_person", { left = left })
    return { state = "needs_person", error = err, left = left, next = "resume", changed = changed }
  end
  local failures, left = undo_all(self)
  if #failures > 0 then
    local also = err.also or {}
    for _, failure in ipairs(failures) do also[#also + 1] = failure end
    err.also = also
    finish(self, "needs_person", { left = left })
    return { state = "needs_person", error = err, left = left, changed = changed }
  end
  local cancelled = task.cancellation() ~= nil
  finish(self, cancelled and "cancelled" or "failed_undone")
  return { state = cancelled and "cancelled" or "failed_undone", error = err, changed = changed }
end

return M
