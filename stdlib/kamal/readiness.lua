--- Whether a container that was booted is fit to serve, and the story where it is not.

local door = require "native.door"
local fail = require "native.fail"
local health = require "deploy.app.health"
local naming = require "kamal.naming"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}

local LOG_LINES = 20
local STORY_DEADLINE = 10000  -- ms for asking what went wrong
local HINT = "is it the right port (proxy.app_port) and path (proxy.healthcheck.path)? a redirect is no answer"

--- Why a container is not healthy: its own last lines beside the proxy's or the engine's word.
--- @async
--- @param host Host
--- @param name string
--- @param cause any  what was raised
function M.explain(host, name, cause)
  cause = fail.normal(cause)
  if task.cancellation() or cause.kind == "cancelled" then error(cause, 0) end
  local found, logs
  task.shielded(STORY_DEADLINE, "asking why " .. name .. " is not ready", function()
    pcall(function() found = host.docker:inspect(name) end)
    pcall(function() logs = text.clean(host.docker:logs(name, { tail = LOG_LINES }).text) end)
  end)
  local ended = found and not found.running
  fail.raise(ended and "app.exited" or "app.unready", ended and ("%s ended with exit code %d"):format(name,
    found.exit_code) or ("%s did not become healthy"):format(name), { host = host.name, container = name, logs = logs,
    code = ended and found.exit_code or nil, oom_killed = found and found.oom_killed or nil, cause = cause,
    hint = HINT })
end

--- Waits until a container that gets no traffic is healthy: its image's own check, or up after the delay.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param id string
--- @param name string
function M.steady(project, host, id, name)
  local config = project.config
  door.wait(host.name, ("until %s is healthy, %.0fs at most"):format(name, config.deploy_timeout), nil, function()
    local deadline = task.now() + config.deploy_timeout * 1000
    local steady
    report.waiting(host, name .. " to be healthy", config.deploy_timeout * 1000)
    while true do
      local found = host.docker:inspect(id)
      if found.health == "healthy" then return end
      local up = found.running and found.state == "running" and found.restart_count == 0 and found.health == ""
      if not found.running and found.state ~= "created" then fail.raise("app.exited", name .. " ended") end
      if up and steady and task.now() >= steady then return end
      if up then steady = steady or task.now() + config.readiness_delay * 1000 else steady = nil end
      if task.now() > deadline + (steady and config.readiness_delay * 1000 or 0) then
        fail.raise("app.unready", ("%s: %s after %.0fs"):format(name,
          found.health ~= "" and found.health or found.state, config.deploy_timeout))
      end
      task.sleep(250)
    end
  end)
end

--- What kamal-proxy will ask, and how long; often enough to see the moment.
local function check_of(project, role)
  local node = role.proxy.node
  local path, timeout = node:dig("healthcheck", "path"), node:dig("healthcheck", "timeout")
  return { port = role.proxy.app_port, path = path and not path:is_null() and path.text or "/up", expect = "2xx",
    interval = "100ms", timeout = ("%.0fs"):format(timeout and timeout.value or 5), settle = "0s",
    deadline = ("%.0fs"):format(project.config.deploy_timeout) }
end

--- A container's address in Kamal's network; nil: none yet, or nobody can ask it there.
--- @async
--- @param host Host
--- @param id string
--- @return string?
function M.address(host, id)
  if host.docker.rootless then return nil end
  local attached = host.docker:inspect(id).networks[naming.NETWORK]
  return attached and attached.ip ~= "" and attached.ip or nil
end

--- Asks the container once from its server's network. Its address there, nil where it cannot be asked: a server may
--- forbid what that takes; and whether it has answered.
local function ask_once(host, container, check)
  local address = container.ip or M.address(host, container.id)
  if not address then return nil, false end
  local ip = address:find(":", 1, true) and "[" .. address .. "]" or address
  local ok, reply = pcall(host.probe, host, ("http://%s:%d%s"):format(ip, check.port, check.path), "2xx",
    { timeout = check.timeout, headers = { Connection = "close" } })
  if task.cancellation() then error(task.cancellation(), 0) end
  if ok then return address, reply.ok end
  return not fail.comes_from(fail.normal(reply), "ssh.forwarding_refused") and address or nil, false
end

--- Waits until a container answers as kamal-proxy wants it to, so that the proxy's first question, whose next one is a
--- second later, gets its answer; and knows what the answers were. Returns without an answer where it cannot tell (it
--- cannot ask, or the container ended and may be started again): the proxy decides then.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @param container { id: string, name: string, ip?: string }  ip: its address, where it is known
function M.answers(project, host, role, container)
  if door.is_kept() then return end
  local check = check_of(project, role)
  local ip, answered = ask_once(host, container, check)
  if answered or not ip then return end
  local asked = { id = container.id, name = container.name, ip = ip }
  local ok, err = pcall(health.wait_ready, host, asked, { health = check, settle = "0s" }, naming.NETWORK, "woken")
  if ok then return end
  err = fail.normal(err)
  if task.cancellation() or err.kind == "cancelled" or err.kind == "timeout" then error(err, 0) end
  if err.kind ~= "app.unready" or not (err.cause and err.cause.kind == "http.unhealthy") then return end
  fail.raise("app.unready", container.name .. " did not become healthy", { host = host.name, container = container.name,
    logs = err.logs, history = err.history, cause = err.cause, hint = HINT })
end

return M
