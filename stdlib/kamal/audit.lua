--- Kamal's audit log on each server: a line per thing done, appended, read by `audit`.

local door = require "native.door"
local naming = require "kamal.naming"
local process = require "native.process"
local task = require "native.task"

local M = {}

local performer

--- Who does it: git's e-mail address, else the user's name.
--- @async
--- @return string
function M.performer()
  if performer then return performer end
  local ok, result = pcall(process.run, { "git", "config", "user.email" }, { check = false, reads = true })
  local email = ok and result.code == 0 and result.stdout:gsub("%s+$", "") or ""
  performer = email ~= "" and email or os.getenv "USER" or os.getenv "LOGNAME" or "unknown"
  return performer
end

--- Appends a line for each message, beside what the task does next: it ends once they are written.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param messages string|string[]
--- @param role? KamalRole
function M.record(project, host, messages, role)
  local parts = { os.date("!%Y-%m-%dT%H:%M:%SZ"), M.performer() }
  if project.config.destination then parts[#parts + 1] = project.config.destination end
  if role then parts[#parts + 1] = role.name end
  local head, lines = table.concat(parts, "] ["), {}
  for index, message in ipairs(type(messages) == "table" and messages or { messages }) do
    lines[index] = ("[%s] %s"):format(head, message)
  end
  local function append()
    host:exec({ "sh", "-c", 'mkdir -p .kamal && printf "%s\\n" "$1" >> "$2"', "sh", table.concat(lines, "\n"),
      naming.audit(project.config) })
  end
  if door.is_kept() then return append() end  -- a plan tells what is done in its order
  task.spawn(append, { name = "the audit log of " .. host.name })
end

--- The last 50 lines.
--- @async
--- @param project KamalProject
--- @param host Host
--- @return string
function M.tail(project, host)
  return host:exec({ "sh", "-c", 'tail -n 50 "$1" 2>/dev/null || true', "sh", naming.audit(project.config) },
    { reads = true }).stdout
end

return M
