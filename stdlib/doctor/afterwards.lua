--- What a run that failed is told beside its error: what that means, and, where a look is cheap, what the look found.
--- Only reads, for a short while, on the one server that failed; what fails meanwhile is not told.

local explain = require "doctor.explain"
local finding = require "doctor.finding"
local report = require "native.report"
local task = require "native.task"

local M = {}

local WITHIN = 10000  -- ms in all

--- The error says as much itself.
local PLAIN = { ["failure.other"] = true, ["failure.ssh"] = true, ["failure.engine"] = true }
--- What may be looked at after a failure: few questions, over the connection that is there.
local CHEAP = { disk = true, proxy = true, registry = true, databases = true }

local function app_of(name)
  local apps = package.loaded["deploy.app"]
  for _, app in ipairs(apps and apps._made or {}) do
    for _, host in ipairs(app.hosts) do
      if host.name == name then return app, host end
    end
  end
end

local function looked(err, groups)
  local cheap = {}
  for _, name in ipairs(groups) do
    if CHEAP[name] then cheap[#cheap + 1] = name end
  end
  local app, host = app_of(err.host)
  if #cheap == 0 or not app then return {} end
  return require("doctor").new({ app = app }):look { hosts = { host }, groups = cheap }
end

--- Tells what a failure means.
--- @async
--- @param err table
function M.tell(err)
  if not err.kind or err.kind:match("^usage") or err.kind:match("^recipe") or err.kind == "cancelled" then return end
  local id, facts, groups = explain.of(err)
  if PLAIN[id] then return end
  local told = finding.make(id, facts, err.host)
  local ok, more = pcall(task.shielded, WITHIN, "a look at what failed", function() return looked(err, groups) end)
  if ok and #more > 0 then
    for _, one in ipairs(more) do report.emit(finding.event(one)) end
    -- A look that found the same thing says it better.
    if id:match("^failure%.") then return end
  end
  report.emit(finding.event(told))
end

return M
