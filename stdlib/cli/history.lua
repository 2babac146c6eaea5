--- `deployrun history`: past runs of this project, newest first; `deployrun history RUN`: one of them, step by step.

local fail = require "native.fail"
local report = require "native.report"
local text = require "native.text"

local M = {}

local ALL = 10000  -- runs that a filter looks at

local function at(ms) return os.date("%Y-%m-%d %H:%M:%S", math.floor(ms / 1000)) end

local function who(record) return record.actor ~= "" and record.actor or record.user end

local function took(record)
  return record.ended and record.ended > 0 and text.format_duration(record.ended - record.started) or "-"
end

local function parameters(record)
  local what = {}
  for name, value in pairs(record.parameters or {}) do
    if type(value) ~= "table" then what[#what + 1] = ("%s=%s"):format(name, tostring(value)) end
  end
  table.sort(what)
  return table.concat(what, " ")
end

--- A run in one line.
--- @param record RunRecord
--- @return string
function M.line(record)
  return ("%s  %-14s %-9s %-22s %-10s %s %s %s"):format(at(record.started), record.state, took(record), record.id,
    who(record), record.recipe, record.command, parameters(record))
end

--- One run: what was asked for, then its steps and what became of each task.
--- @param record RunRecord
--- @return string
function M.story(record)
  local lines = {
    ("run %s: %s"):format(record.id, record.state),
    ("  %s %s %s"):format(record.recipe, record.command, parameters(record)),
    ("  %s, took %s, by %s from %s, deployrun %s%s"):format(at(record.started), took(record), who(record), record.host,
      record.version, record.revision ~= "" and ", revision " .. record.revision or ""),
  }
  for _, takeover in ipairs(record.takeovers or {}) do
    lines[#lines + 1] = ("  taken over to %s by %s from %s"):format(takeover.mode, who(takeover), takeover.host)
  end
  for _, step in ipairs(record.steps or {}) do
    lines[#lines + 1] = ("%3d  %s"):format(step.ordinal, step.name)
    for _, task in ipairs(step.tasks) do
      local attempts = task.attempt > 1 and (", attempt %d"):format(task.attempt) or ""
      lines[#lines + 1] = ("       %-24s %-12s %s%s"):format(task.host, task.state, text.format_duration(task.ms or 0),
        attempts)
      if task.error then lines[#lines + 1] = ("         %s: %s"):format(task.error.kind, task.error.message) end
    end
  end
  return table.concat(lines, "\n")
end

--- Whether a run is one of those that were asked for.
--- @param record RunRecord
--- @param options table<string, string>
--- @return boolean
function M.matches(record, options)
  return (not options.command or record.command == options.command)
    and (not options.state or record.state == options.state)
    and (not options.recipe or record.recipe == options.recipe)
end

local function chosen(journal, options)
  local limit = tonumber(options.limit) or 20
  local filtered = options.command or options.state or options.recipe
  local records = {}
  for _, record in ipairs(journal:history(filtered and ALL or limit)) do
    if #records < limit and M.matches(record, options) then records[#records + 1] = record end
  end
  return records
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local run, records = request.words[1], {}
  local ok, err = pcall(function()
    local journal = require("deploy.journal").open(request, { create = false })
    records = run and { journal:record(run) } or chosen(journal, request.options)
  end)
  if not ok then
    err = fail.normal(err)
    if err.kind ~= "journal.missing" or run then
      report.emit { type = "error", error = err }
      return err.kind == "journal.unknown_run" and 2 or 1
    end
  end
  if request.json then
    for _, record in ipairs(records) do report.emit { type = "history", record = record } end
    return 0
  end
  if run then
    report.text(M.story(records[1]))
    return 0
  end
  if #records == 0 then
    report.text(ok and next(request.options) and "no such runs"
      or "no runs yet on this machine (deployrun RECIPE history asks the servers)")
  end
  for _, record in ipairs(records) do report.text(M.line(record)) end
  return 0
end

return M
