--- Kamal's proxy on a server: its network and its container, run as `proxy.run` or Kamal's defaults say.

local audit = require "kamal.audit"
local containers = require "kamal.containers"
local cross_checks = require "kamal.cross_checks"
local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local task = require "native.task"
local try = require "deploy.try"

local M = {}

local READY = 10000  -- ms until it takes commands

local function wait_ready(host)
  door.wait(host.name, "until kamal-proxy takes commands", nil, function()
    local deadline = task.now() + READY
    while true do
      local ok, result = pcall(host.docker.exec, host.docker, naming.PROXY_CONTAINER, { "kamal-proxy", "list" },
        { reads = true })
      if ok and result.code == 0 then return end
      if task.now() > deadline then
        fail.raise("proxy.boot", "kamal-proxy does not take commands", { host = host.name,
          hint = "are ports 80 and 443 free? `proxy logs` has its own words" })
      end
      task.sleep(50)
    end
  end)
end

--- Old settings that `proxy boot_config` wrote; these are Kamal's to read, and are not known here.
local function check_files(host)
  local result = host:exec({ "sh", "-c", "ls .kamal/proxy/options .kamal/proxy/image .kamal/proxy/image_version " ..
    ".kamal/proxy/run_command 2>/dev/null || true" }, { reads = true })
  local found = result.stdout:gsub("%s+$", ""):gsub("\n", ", ")
  if found ~= "" then
    fail.raise("proxy.boot", ("%s: written by `kamal proxy boot_config`"):format(found), { host = host.name,
      hint = "say the same under proxy.run in deploy.yml, then remove the files" })
  end
end

--- Raises where the proxy that is there is too old, before anything is changed.
--- @async
--- @param host Host
function M.check(host)
  local found = try(host.docker.inspect, host.docker, naming.PROXY_CONTAINER)
  local version = found and found.image:match("([^:]*)$")
  if version and version:match("^v?%d") and cross_checks.is_older(version, naming.PROXY_VERSION) then
    fail.raise("proxy.boot", ("kamal-proxy version %s is too old, run `kamal proxy reboot` in order to update to at " ..
      "least %s"):format(version, naming.PROXY_VERSION), { host = host.name })
  end
end

--- Sees to the network.
--- @async
--- @param host Host
function M.network(host)
  if not try(host.docker.inspect_network, host.docker, naming.NETWORK) then
    host.docker:create_network(naming.NETWORK)
  end
end

--- Boots it where it does not run.
--- @async
--- @param project KamalProject
--- @param host Host
--- @return { unchanged: boolean }
function M.boot(project, host)
  M.network(host)
  M.check(host)
  local docker = host.docker
  local found = try(docker.inspect, docker, naming.PROXY_CONTAINER)
  if found and found.running then return { unchanged = true } end
  if not found then
    local run = containers.proxy(project.config, host.name)
    if #project.config:proxy_runs(host.name) == 0 then check_files(host) end
    host:exec({ "mkdir", "-p", ".kamal/proxy/apps-config" })
    if not try(docker.inspect_image, docker, run.image) then docker:pull(run.image) end
    docker:create(project:spec(host, run))
  end
  docker:start(naming.PROXY_CONTAINER)
  wait_ready(host)
  return { unchanged = false }
end

--- Stops and removes it; its routes stay in their volume.
--- @async
--- @param project KamalProject
--- @param host Host
function M.remove(project, host)
  local docker = host.docker
  if not try(docker.inspect, docker, naming.PROXY_CONTAINER) then return end
  docker:stop(naming.PROXY_CONTAINER)
  docker:remove(naming.PROXY_CONTAINER)
  audit.record(project, host, "Removed proxy container")
end

--- Replaces its container; routes come back from its volume.
--- @async
--- @param project KamalProject
--- @param host Host
function M.reboot(project, host)
  local run = containers.proxy(project.config, host.name)
  if not try(host.docker.inspect_image, host.docker, run.image) then host.docker:pull(run.image) end
  M.remove(project, host)
  M.boot(project, host)
  audit.record(project, host, "Rebooted proxy")
end

return M
