--- `output` of deploy.yml: the log of a command that changes something as a file (`file.path`), and as OTLP log records
--- (`otel.endpoint`). Both are written once the command has ended, what was undone included, and never fail it.

local audit = require "kamal.audit"
local files = require "native.files"
local http = require "native.http"
local log = require "native.log"
local notify = require "deploy.notify"
local report = require "native.report"
local task = require "native.task"

local M = {}

local OWN = ".deployrun/log/%s.log"  -- what docs/journal.md calls a run's log
local AT_ONCE = 100                  -- records of a request
local TURNS = 3                      -- of the loop, in which the run's own log gets to the disk

local function text_at(project, ...)
  local node = project.config.root:dig("output", ...)
  return node and not node:is_blank() and node.text or nil
end

local function seconds(message) return (message.ms or 0) / 1000 end

local function name_of(project)
  local parts = { os.date "%Y-%m-%dT%H-%M-%S" }
  if project.config.destination then parts[#parts + 1] = project.config.destination end
  parts[#parts + 1] = (project.command:gsub(" ", "_"))
  return table.concat(parts, "_") .. ".log"
end

local function last_line(message)
  if not message.error then return ("# Completed in %.1fs\n"):format(seconds(message)) end
  return ("# FAILED: %s: %s (%.1fs)\n"):format(message.error.kind, message.error.message, seconds(message))
end

local function write_file(project, folder, message, said)
  local path = folder:gsub("(.)/+$", "%1") .. "/" .. name_of(project)
  files.write(path, said .. last_line(message), { mode = "0600", parents = true })
  report.emit { type = "log", level = "info", message = "Logs written to " .. path }
end

local function attributes(map)
  local out, names = {}, {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do out[#out + 1] = { key = name, value = { stringValue = tostring(map[name]) } } end
  return out
end

--- The records: that it began, each line, how it ended.
local function records(project, message, said)
  local at = ("%d000000000"):format(os.time())
  local out = {}
  local function add(body, severity, more)
    out[#out + 1] = { timeUnixNano = at, severityText = severity, body = { stringValue = body },
      attributes = attributes(more or {}) }
  end
  local command = project.command
  add("kamal.start", "INFO", { ["event.name"] = "kamal.start", command = command })
  for line in said:gmatch("[^\n]+") do add(line, "INFO") end
  if message.error then
    add("kamal.failed", "ERROR", { ["event.name"] = "kamal.failed", command = command,
      error = ("%s: %s"):format(message.error.kind, message.error.message) })
  else
    add("kamal.complete", "INFO", { ["event.name"] = "kamal.complete", command = command,
      runtime = ("%.0f"):format(seconds(message)) })
  end
  return out
end

local function send(project, endpoint, message, said)
  local config = project.config
  local known, version = pcall(config.version, config)
  local resource = { attributes = attributes { ["service.name"] = "kamal", ["service.namespace"] = config.service,
    ["kamal.run_id"] = message.run, ["kamal.performer"] = audit.performer(),
    ["kamal.deploy_version"] = known and version or "", ["deployment.environment.name"] = config.destination or "" } }
  local all = records(project, message, said)
  for first = 1, #all, AT_ONCE do
    local some = { unpack(all, first, math.min(first + AT_ONCE - 1, #all)) }
    local reply = http.request(endpoint:gsub("/+$", "") .. "/v1/logs", { timeout = "5s", json = { resourceLogs = { {
      resource = resource, scopeLogs = { { scope = { name = "kamal" }, logRecords = some } } } } } })
    if reply.status >= 300 then error(("%s answered %d"):format(endpoint, reply.status), 0) end
  end
end

local function told(what, fn, ...)
  local ok, err = pcall(fn, ...)
  if not ok then
    log.warn(("output/%s: %s"):format(what, type(err) == "table" and err.message or tostring(err)))
  end
end

--- Declares what becomes of the log of the run that begins.
--- @param project KamalProject
function M.declare(project)
  local folder, endpoint = text_at(project, "file", "path"), text_at(project, "otel", "endpoint")
  if not folder and not endpoint then return end
  notify.notify { on = { "success", "failure", "rollback" }, call = function(message)
    for _ = 1, TURNS do task.sleep(1) end
    local path = OWN:format(message.run)
    local said = files.exists(path) and files.read(path) or ""
    if folder then told("file", write_file, project, folder, message, said) end
    if endpoint then told("otel", send, project, endpoint, message, said) end
  end }
end

return M
