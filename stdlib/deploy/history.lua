--- `deployrun history`: past runs of this project, newest first.

local report = require "native.report"
local text = require "native.text"

local M = {}

local function ago(ms) return os.date("%Y-%m-%d %H:%M:%S", math.floor(ms / 1000)) end

local function line(record)
  local who = record.actor ~= "" and record.actor or record.user
  local took = record.ended and record.ended > 0 and text.format_duration(record.ended - record.started) or "-"
  local what = {}
  for name, value in pairs(record.parameters or {}) do
    if type(value) ~= "table" then what[#what + 1] = ("%s=%s"):format(name, tostring(value)) end
  end
  table.sort(what)
  return ("%s  %-14s %-9s %-22s %-10s %s %s %s"):format(ago(record.started), record.state, took, record.id, who,
    record.recipe, record.command, table.concat(what, " "))
end

--- @async
--- @param request { limit: integer, json: boolean, info: table }
--- @return integer exit_code
function M.main(request)
  local ok, journal = pcall(require("deploy.journal").open, request, { create = false })
  local records = {}
  if ok then
    records = journal:history(request.limit)
  elseif journal.kind ~= "journal.missing" then
    report.emit { type = "error", error = journal }
    return 1
  end
  if request.json then
    for _, record in ipairs(records) do report.emit { type = "history", record = record } end
    return 0
  end
  if #records == 0 then report.text "no runs yet" end
  for _, record in ipairs(records) do report.text(line(record)) end
  return 0
end

return M
