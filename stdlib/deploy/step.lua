--- One step: which hosts, in which batches, and what became of each task. Journals the intent before a task and the
--- result after it; leaves undo to deploy/undo.lua.

local door = require "native.door"
local fail = require "native.fail"
local options = require "deploy.options"
local task = require "native.task"
local text = require "native.text"

local M = {}

local STEP = {
  on = { "table" }, parallel = { "integer" }, rolling = { "table" }, retries = { "integer" }, timeout = { "duration" },
  when = { "boolean|function" }, on_failure = { "string" }, reads = { "boolean" },
  final = { "boolean" }, run = { "function", required = true }, undo = { "function" },
}
local ROLLING = { first = { "integer" }, limit = { "integer|string" }, wait = { "duration" } }
--- What a step may say; deploy/check.lua looks for it in a recipe's text.
M.OPTIONS, M.ROLLING = STEP, ROLLING
local ON_FAILURE = { cancel = true, finish = true, continue = true }

--- @class StepOptions
--- @field on? Host|Host[]        nil: once, on this machine
--- @field parallel? integer      hosts at a time; default: all
--- @field rolling? { first?: integer, limit?: integer|string, wait?: string }  `first` hosts, then `limit` at a time
--- @field retries? integer       further attempts for a task that failed; a step's `run` is repeatable
--- @field timeout? string        for one attempt of one task
--- @field when? boolean|fun(host: Host): boolean
--- @field on_failure? "cancel"|"finish"|"continue"  siblings are cancelled (default) or may finish, then all is undone;
---                               "continue": reported only
--- @field reads? boolean         changes nothing
--- @field final? boolean         cannot be undone, and comes last: once a task of it began the run only goes forward.
---        Interrupting it waits for its end, --abort finishes it, failures are reported only, unless `on_failure` says
---        otherwise: then they end the run, which waits for --resume
--- @field run fun(host: Host): any          its result is journaled (JSON)
--- @field undo? fun(host: Host, result: any)  nil result: it was half done. Repeatable, and may run in another process

--- Checks a step's declaration.
--- @param name string
--- @param declaration StepOptions
--- @param localhost Host
--- @return table step
function M.new(name, declaration, localhost)
  if type(name) ~= "string" or name == "" then fail.usage("run:step: the first argument is the step's name") end
  local what = ("step %q"):format(name)
  options.check(declaration, STEP, what)
  if declaration.rolling then options.check(declaration.rolling, ROLLING, what .. ", rolling") end
  if declaration.rolling and declaration.parallel then
    fail.usage(what .. ": `rolling` and `parallel` exclude each other",
      { hint = "rolling.limit says how many at a time" })
  end
  local mode = declaration.on_failure or "cancel"
  if not ON_FAILURE[mode] then
    fail.usage(("%s: on_failure must be \"cancel\", \"finish\" or \"continue\", got %q"):format(what, mode),
      { token = mode })
  end
  if declaration.final then
    if declaration.undo then fail.usage(what .. ": a final step has no undo") end
    mode = declaration.on_failure or "continue"
  end
  local hosts = declaration.on
  if hosts == nil then hosts = { localhost } elseif hosts.name then hosts = { hosts } end
  local chosen, seen = {}, {}
  for _, host in ipairs(hosts) do
    if type(host) ~= "table" or type(host.name) ~= "string" then fail.usage(what .. ": `on` takes hosts") end
    if seen[host.name] then fail.usage(("%s: host %s is named twice"):format(what, host.name)) end
    seen[host.name] = true
    local when = declaration.when
    if type(when) == "function" then when = when(host) end
    if when ~= false then chosen[#chosen + 1] = host end
  end
  return {
    name = name, hosts = chosen, options = declaration, on_failure = mode,
    timeout = text.duration_option(declaration.timeout, what .. ", timeout"), tasks = {}, where = fail.where(),
  }
end

--- Which hosts run together, in order.
--- @param step table
--- @return Host[][] batches
--- @return integer? limit  at a time within a batch
function M.batches(step)
  local rolling = step.options.rolling
  if not rolling then return { step.hosts }, step.options.parallel end
  local limit = rolling.limit or 1
  if type(limit) == "string" then
    local percent = tonumber(limit:match("^(%d+)%%$"))
    if not percent then
      fail.usage(("step %q: rolling.limit is a number or \"25%%\""):format(step.name), { token = limit })
    end
    limit = math.max(1, math.floor(#step.hosts * percent / 100))
  end
  local batches, index = {}, 1
  local size = rolling.first or limit
  while index <= #step.hosts do
    local batch = {}
    for i = index, math.min(index + size - 1, #step.hosts) do batch[#batch + 1] = step.hosts[i] end
    batches[#batches + 1] = batch
    index, size = index + size, limit
  end
  return batches
end

local function with_place(err, step, host)
  err = fail.normal(err)
  err.step, err.where = err.step or step.name, err.where or step.where
  if host.name ~= "local" then err.host = err.host or host.name end
  return err
end

--- Runs one task, with its attempts. Returns its result or raises.
local function run_task(run, step, host)
  local record = step.tasks[host.name]
  if record and record.state == "done" then return record.result end
  record = { host = host, state = "started", attempt = record and record.attempt or 0 }
  step.tasks[host.name] = record
  local attempts = 1 + (step.options.retries or 0)
  for attempt = 1, attempts do
    record.attempt = record.attempt + 1
    -- The intent is on the disk before anything changes. Outcomes, and what only looks, go there with the next intent.
    local intent = { type = "task", step = step.ordinal, host = host.name, state = "started", attempt = record.attempt }
    if step.options.reads then run:_post(intent) else run:_append(intent) end
    record.state = "started"
    run:_report { type = "task.started", step = step.name, host = host.name, attempt = attempt }
    local began = task.now()
    local ok, value = pcall(task.within, step.timeout, ("%s on %s"):format(step.name, host.name),
      function() return run:_perform(step, host) end)
    local ms = math.floor(task.now() - began + 0.5)
    if not ok then value = with_place(value, step, host) end
    run:_post { type = "task", step = step.ordinal, host = host.name, state = ok and "done" or "failed",
      result = ok and value or nil, error = not ok and value or nil, attempt = record.attempt, ms = ms }
    if ok then
      record.state, record.result = "done", value
      local state = type(value) == "table" and value.unchanged and "unchanged" or "done"
      run:_report { type = "task.finished", step = step.name, host = host.name, state = state, ms = ms,
        note = type(value) == "table" and value.note or nil }
      return value
    end
    record.state, record.error = "failed", value
    local cancelled = value.kind == "cancelled"
    local again = attempt < attempts and not cancelled and value.kind ~= "usage" and not task.cancellation()
    run:_report { type = "task.finished", step = step.name, host = host.name, ms = ms,
      state = cancelled and "cancelled" or "failed", error = value, retry = again or nil }
    if not again then error(value, 0) end
    door.sleep(math.min(500 * 2 ^ (attempt - 1), 10000), "before trying again")
  end
end

--- One error for a step: the first real one, the others beside it.
local function combine(step, outcomes, hosts)
  local first, others = nil, {}
  for index, outcome in ipairs(outcomes) do
    if not outcome.ok and outcome.error then
      local err = with_place(outcome.error, step, hosts[index])
      if err.kind == "cancelled" then
        first = first or err
      elseif not first or first.kind == "cancelled" then
        first = err
      else
        others[#others + 1] = err
      end
    end
  end
  if first and #others > 0 then
    local also = first.also or {}
    for _, err in ipairs(others) do also[#also + 1] = err end
    first.also = also
  end
  return first
end

--- Runs all tasks of a step that are not finished yet; raises when it failed.
--- @async
--- @param run Run
--- @param step table
function M.execute(run, step)
  local batches, limit = M.batches(step)
  local wait = step.options.rolling and text.duration_option(step.options.rolling.wait, "rolling.wait")
  local failure
  for number, batch in ipairs(batches) do
    if number > 1 and wait then
      door.sleep(wait, ("%s before the next servers"):format(step.options.rolling.wait))
    end
    local outcomes = task.each(batch, {
      limit = limit, on_failure = step.on_failure == "cancel" and "cancel" or "finish",
      name = function(host) return ("%s on %s"):format(step.name, host.name) end,
    }, function(host) return run_task(run, step, host) end)
    local err = task.cancellation() or combine(step, outcomes, batch)
    if err and (step.on_failure ~= "continue" or task.cancellation()) then error(err, 0) end
    if err then
      failure = failure or err
      run:_report { type = "log", level = "warn", step = step.name, host = err.host,
        message = ("%s: %s (the run goes on)"):format(step.name, err.message) }
    end
  end
  step.warning = failure
end

return M
