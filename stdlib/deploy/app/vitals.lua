--- The health endpoints of what serves, asked side by side in one call, each with its own meaning: does the process
--- answer, is it alive (if not, a restart helps), may it have traffic, is everything around it well.

local fail = require "native.fail"
local side_by_side = require "deploy.side_by_side"

local M = {}

local TIMEOUT = "5s"

--- What is asked, in the order in which it is shown.
M.ENDPOINTS = {
  { name = "process", path = "/healthz", means = "the process answers" },
  { name = "live", path = "/health/live", means = "alive: else a restart helps" },
  { name = "ready", path = "/health/ready", means = "may have traffic" },
  { name = "health", path = "/health", means = "all it depends on is well" },
}

--- @class Vitals
--- @field process { ok: boolean, status: integer, ms: number, reason?: string }  status: 0 without an answer
--- @field live { ok: boolean, status: integer, ms: number, reason?: string }
--- @field ready { ok: boolean, status: integer, ms: number, reason?: string }
--- @field health { ok: boolean, status: integer, ms: number, reason?: string }
--- @field verdict "well"|"degraded"|"not ready"|"restart"  what follows: nothing, a look at what it depends on, no
---   traffic for now, a new start

local function ask(host, url, inside)
  local ok, reply = pcall(host.probe, host, url, "200-299", { timeout = TIMEOUT, inside = inside,
    headers = { Connection = "close" } })
  if ok then
    return { ok = reply.ok, status = reply.status, ms = math.floor(reply.ms + 0.5), reason = reply.reason }
  end
  local err = fail.normal(reply)
  if err.kind == "cancelled" or err.kind:match("^ssh%.") then error(reply, 0) end
  return { ok = false, status = 0, ms = 0, reason = err.message }
end

--- What follows from the answers: liveness decides a restart, readiness decides traffic.
--- @param seen table<string, { ok: boolean }>  by endpoint
--- @return "well"|"degraded"|"not ready"|"restart" verdict
function M.verdict(seen)
  if not seen.process.ok or not seen.live.ok then return "restart" end
  if not seen.ready.ok then return "not ready" end
  return seen.health.ok and "well" or "degraded"
end

--- Asks a running container from its server's network. Raises `app.not_running` for one without an address.
--- @async
--- @param host Host
--- @param id string
--- @param port integer
--- @param network string
--- @param paths? table<string, string>  other paths, by endpoint
--- @return Vitals
function M.ask(host, id, port, network, paths)
  local found = host.docker:inspect(id)
  local attached = found.networks[network]
  if not found.running or not attached or attached.ip == "" then
    fail.raise("app.not_running", ("%s does not run in network %s"):format(found.name, network), { host = host.name })
  end
  local ip = attached.ip:find(":", 1, true) and ("[%s]"):format(attached.ip) or attached.ip
  local inside = host.docker.rootless == true and found.pid or nil
  local answers = side_by_side(M.ENDPOINTS, "health", function(endpoint)
    local path = paths and paths[endpoint.name] or endpoint.path
    return ask(host, ("http://%s:%d%s"):format(ip, port, path), inside)
  end)
  local seen = {}
  for index, endpoint in ipairs(M.ENDPOINTS) do seen[endpoint.name] = answers[index] end
  seen.verdict = M.verdict(seen)
  return seen
end

--- The answers for people, a line each.
--- @param seen Vitals
--- @return string
function M.text(seen)
  local lines = {}
  for index, endpoint in ipairs(M.ENDPOINTS) do
    local one = seen[endpoint.name]
    local said = one.ok and ("ok, %d ms"):format(one.ms) or (one.reason or ("status %d"):format(one.status))
    lines[index] = ("%-8s %-32s %s\n"):format(endpoint.name, endpoint.means, said)
  end
  return table.concat(lines) .. ("%-8s %s\n"):format("so", seen.verdict)
end

return M
