--- `deployrun RECIPE history [RUN]`: what the primary hosts of a recipe know of its runs, from any machine. Every
--- recipe has it, unless it declares a command of that name. What this machine did, `deployrun history` tells.

local fail = require "native.fail"
local history = require "cli.history"
local report = require "native.report"
local state = require "deploy.journal.state"

local M = {}

M.NAME = "history"

local function find(places, run)
  for _, place in ipairs(places) do
    local record = state.record(place, run)
    if record then return record end
  end
  fail.raise("journal.unknown_run", "no primary host knows a run " .. run, { hint = "without an id they are listed" })
end

local function newest(places, limit)
  local records = {}
  for _, place in ipairs(places) do
    for _, record in ipairs(state.runs(place, limit)) do records[#records + 1] = record end
  end
  table.sort(records, function(a, b) return a.started > b.started end)
  for index = #records, limit + 1, -1 do records[index] = nil end
  return records
end

local function tell(run)
  local places = state.places()
  if #places == 0 then
    fail.usage("the recipe has no deploy lock on a server, so no server knows its runs",
      { hint = "deployrun history tells those of this machine" })
  end
  local records = run.params.run and { find(places, run.params.run) } or newest(places, run.params.limit)
  for _, record in ipairs(records) do
    report.emit { type = "history", record = record }
    report.text((run.params.run and history.story(record) or history.line(record)) .. "\n")
  end
  if #records == 0 then report.text("no runs yet\n") end
end

--- The command, as `deploy.command` would declare it.
--- @return Command
function M.new()
  return {
    name = M.NAME, help = "Past runs, as the servers know them, from any machine", reads = true,
    params = {
      run = { positional = true, help = "one of them, step by step" },
      limit = { type = "integer", default = 20, help = "how many" },
    },
    run = tell,
  }
end

return M
