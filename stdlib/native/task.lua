--- Tasks: waiting, running things side by side, time limits. A task is one coroutine; it ends after the tasks below it,
--- and cancelling it cancels them.

local raw = require "native.task.raw"
local yield = coroutine.yield

local M = {}

--- Waits for an operation of a native module and returns its value, or raises its error. For faces.
--- @async
--- @param operation userdata  fresh from a native call, never awaited before
--- @return any value
function M.await(operation)
  raw.check_wait(operation)
  local ok, value = yield(operation)
  if not ok then error(value, 0) end
  return value
end
local await = M.await

--- @class Task
--- @field cancel fun(self: Task, reason?: string)  cancels it and all below it
--- @field finished fun(self: Task): boolean

--- @class TaskOptions
--- @field name? string        shown in messages about it
--- @field timeout? number     milliseconds; passing them cancels it with `timeout`
--- @field shielded? boolean   reached neither by its parent's cancellation nor by its deadline
--- @field observed? boolean   its failure waits for `join`; otherwise a failure nobody joined fails the parent

--- Starts `fn` as a task below the running one.
--- @param fn fun(): any
--- @param options? TaskOptions
--- @return Task
function M.spawn(fn, options)
  return raw.spawn(fn, options)
end

--- Waits for a task's end; returns its value or raises its error.
--- @async
--- @param task Task
--- @return any value
function M.join(task)
  return await(task:join())
end

--- @async
--- @param ms number
function M.sleep(ms)
  await(raw.sleep(ms))
end

--- Runs `fn` with a time limit; raises `timeout` once it has passed and `fn` has let go of what it held.
--- @async
--- @generic T
--- @param ms number?  nil: no limit
--- @param name string what is limited, for the message
--- @param fn fun(): T
--- @return T
function M.within(ms, name, fn)
  if not ms then return fn() end
  return M.join(raw.spawn(fn, { name = name, timeout = ms, observed = true }))
end

--- Runs `fn` although the running task may be cancelled: for undo and for cleaning up. Has a time limit of its own.
--- @async
--- @generic T
--- @param ms number
--- @param name string
--- @param fn fun(): T
--- @return T
function M.shielded(ms, name, fn)
  return M.join(raw.spawn(fn, { name = name, timeout = ms, shielded = true, observed = true }))
end

--- @class TaskOutcome
--- @field ok boolean
--- @field value any     when ok
--- @field error any     when not
--- @field skipped? boolean  never started, because an earlier one failed

--- Runs `fn(item, index)` for every item side by side and waits for all. A failure cancels the others unless
--- `on_failure` is "finish"; no failure is dropped: each item has its outcome.
--- @async
--- @param items any[]
--- @param options { limit?: integer, on_failure?: "cancel"|"finish", name?: fun(item: any): string }
--- @param fn fun(item: any, index: integer): any
--- @return TaskOutcome[] outcomes  in the order of `items`
function M.each(items, options, fn)
  local outcomes, workers, tasks = {}, {}, {}
  local next_index, stopped = 0, false
  local limit = math.min(options.limit or #items, #items)

  local function stop_others()
    if stopped or options.on_failure == "finish" then return end
    stopped = true
    for _, task in pairs(tasks) do task:cancel("cancelled: another one failed") end
  end

  local function work()
    while true do
      next_index = next_index + 1
      local index = next_index
      if index > #items then return end
      if stopped then
        outcomes[index] = { ok = false, skipped = true }
      else
        local name = options.name and options.name(items[index]) or tostring(items[index])
        local task = raw.spawn(function() return fn(items[index], index) end, { name = name, observed = true })
        tasks[index] = task
        local ok, value = pcall(M.join, task)
        tasks[index] = nil
        outcomes[index] = ok and { ok = true, value = value } or { ok = false, error = value }
        if not ok then stop_others() end
        local reason = raw.cancellation()
        if reason then stopped = true end
      end
    end
  end

  for _ = 1, limit do workers[#workers + 1] = raw.spawn(work, { name = "worker", observed = true }) end
  local failure
  for _, worker in ipairs(workers) do
    local ok, err = pcall(M.join, worker)
    if not ok and not failure then failure = err end
  end
  for index = 1, #items do outcomes[index] = outcomes[index] or { ok = false, skipped = true } end
  if failure and raw.cancellation() == nil then error(failure, 0) end
  return outcomes
end

--- Monotonic milliseconds; only differences mean something.
--- @return number
M.now = raw.now

--- Milliseconds until the running task's deadline; nil when it has none.
--- @return number?
M.remaining = raw.remaining

--- Why the running task was cancelled, as an error; nil while it was not.
--- @return table?
M.cancellation = raw.cancellation

return M
