--- Kamal's audit log on each server: a line per thing done, appended, read by `audit`.

local naming = require "kamal.naming"
local process = require "native.process"

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

--- Appends a line.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param message string
--- @param role? KamalRole
function M.record(project, host, message, role)
  local parts = { os.date("!%Y-%m-%dT%H:%M:%SZ"), M.performer() }
  if project.config.destination then parts[#parts + 1] = project.config.destination end
  if role then parts[#parts + 1] = role.name end
  local line = ("[%s] %s"):format(table.concat(parts, "] ["), message)
  host:exec({ "sh", "-c", 'mkdir -p .kamal && printf "%s\\n" "$1" >> "$2"', "sh", line,
    naming.audit(project.config) })
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
