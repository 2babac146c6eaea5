--- Whether something that runs beside an app can be reached from the app's containers: by an address in a network that
--- they share, asked from their server, whose bridges lead into that network (of an engine without root: from the
--- network of the container that is asked). A look changes nothing; what it raises is a cancellation.

local fail = require "native.fail"
local task = require "native.task"

local M = {}

--- The address of a container in one of these networks.
--- @param found DockerContainer
--- @param networks table<string, any>  by name
--- @return string? ip
function M.address(found, networks)
  local names = {}
  for name in pairs(found.networks) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    if networks[name] and found.networks[name].ip ~= "" then return found.networks[name].ip end
  end
end

local function url_of(ip, port, path)
  if ip:find(":", 1, true) then ip = "[" .. ip .. "]" end
  return ("http://%s:%d%s"):format(ip, port, path)
end

--- Asks one place once. Without a path an open port is enough, whatever is spoken there.
--- @async
--- @param host Host
--- @param found DockerContainer
--- @param ip string
--- @param port integer
--- @param health? { path: string, expect?: string, host?: string }
--- @return boolean reached
--- @return string? why
--- @return table? error
function M.ask(host, found, ip, port, health)
  local given = { timeout = health and "5s" or "3s", inside = host.docker.rootless == true and found.pid or nil,
    headers = health and health.host and { Host = health.host } or nil }
  local expect = health and (health.expect or "200-299") or "100-599"
  local ok, reply = pcall(host.probe, host, url_of(ip, port, health and health.path or "/"), expect, given)
  if task.cancellation() then error(reply, 0) end
  if not ok then
    local err = fail.normal(reply)
    -- It is there, and speaks something else than HTTP.
    if not health and (err.kind == "http.protocol" or err.kind == "http.lost") then return true end
    return false, err.message, err
  end
  if not health or reply.ok then return true end
  return false, ("%s: %s"):format(health.path, reply.reason or reply.status)
end

return M
