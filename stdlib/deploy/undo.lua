--- Undoes a run: every task that completed and every half-done one, last step first. Each undo has a deadline, is
--- journaled before and after, and may be repeated by another process.

local fail = require "native.fail"
local task = require "native.task"

local M = {}

local DEFAULT_DEADLINE = 300000  -- ms for one undo without a timeout of its step

local function needs_undo(record)
  return record.state == "done" or record.state == "started" or record.state == "failed"
    or record.state == "undo_started" or record.state == "undo_failed"
end

local function undo_task(run, step, host, record)
  run:_append { type = "task", step = step.ordinal, host = host.name, state = "undo_started", attempt = record.attempt }
  run:_report { type = "task.started", step = step.name, host = host.name, undo = true }
  local began = task.now()
  local ok, err = pcall(task.within, math.max(step.timeout or 0, DEFAULT_DEADLINE),
    ("undo of %s on %s"):format(step.name, host.name), function() run:_perform(step, host, true, record.result) end)
  local ms = math.floor(task.now() - began + 0.5)
  if ok then
    record.state = "undone"
    run:_post { type = "task", step = step.ordinal, host = host.name, state = "undone", attempt = record.attempt,
      ms = ms }
    run:_report { type = "task.finished", step = step.name, host = host.name, state = "undone", ms = ms }
    return
  end
  err = fail.normal(err)
  err.step, err.host = err.step or step.name, err.host or host.name
  record.state = "undo_failed"
  run:_post { type = "task", step = step.ordinal, host = host.name, state = "undo_failed", error = err,
    attempt = record.attempt, ms = ms }
  run:_report { type = "task.finished", step = step.name, host = host.name, state = "undo_failed", ms = ms,
    error = err }
  error(err, 0)
end

--- Undoes all of `run.steps`. After a failure on a host, that host's earlier steps stay: undoing below a step that
--- still stands could stop what serves.
--- @async
--- @param run Run
--- @return table[] failures  errors; empty when everything is undone
--- @return string[] left     what a person must look at, in words
function M.run(run)
  local failures, left, stuck = {}, {}, {}
  for index = #run.steps, 1, -1 do
    local step = run.steps[index]
    local hosts = {}
    for _, host in ipairs(step.hosts) do
      local record = step.tasks[host.name]
      if step.options.undo and record and needs_undo(record) then
        if stuck[host.name] then
          left[#left + 1] = ("%s: %s was not undone"):format(host.name, step.name)
        else
          hosts[#hosts + 1] = host
        end
      end
    end
    if #hosts > 0 then
      run:_report { type = "step.started", step = step.name, undo = true, hosts = #hosts }
      if run._context.plan then run._context.plan:begin_step(step.name, step.options, hosts, true) end
      local outcomes = task.each(hosts, { on_failure = "finish" }, function(host)
        undo_task(run, step, host, step.tasks[host.name])
      end)
      for position, outcome in ipairs(outcomes) do
        if not outcome.ok then
          local host = hosts[position]
          stuck[host.name] = true
          failures[#failures + 1] = outcome.error or fail.make("cancelled", "not undone")
          left[#left + 1] = ("%s: undoing %s failed: %s"):format(host.name, step.name,
            outcome.error and outcome.error.message or "cancelled")
        end
      end
    end
  end
  return failures, left
end

return M
