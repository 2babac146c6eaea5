--- Kamal's proxy on a server: its network and its container, run as kamal/proxy_run.lua says.

local audit = require "kamal.audit"
local cross_checks = require "kamal.cross_checks"
local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local proxy_run = require "kamal.proxy_run"
local registry = require "kamal.registry"
local replacing = require "deploy.replacing"
local stopping = require "deploy.stopping"
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

--- The registry's credentials, where the image is in the project's own.
local function pull(project, host, image)
  local server = project.config.registry.server
  local is_own = server and image:sub(1, #server + 1) == server .. "/"
  registry.pull(project, host, image, { credentials = is_own and project:credentials() or nil })
end

--- The proxy's container; nil where there is none. Raises where it is too old, before anything is changed.
--- @async
--- @param host Host
--- @return DockerContainer?
function M.check(host)
  local found = try(host.docker.inspect, host.docker, naming.PROXY_CONTAINER)
  local version = found and found.image:match("([^:]*)$")
  if version and version:match("^v?%d") and cross_checks.is_older(version, naming.PROXY_VERSION) then
    fail.raise("proxy.boot", ("kamal-proxy version %s is too old, run `kamal proxy reboot` in order to update to at " ..
      "least %s"):format(version, naming.PROXY_VERSION), { host = host.name })
  end
  return found
end

--- Sees to the network.
--- @async
--- @param host Host
function M.network(host)
  if not try(host.docker.inspect_network, host.docker, naming.NETWORK) then
    host.docker:create_network(naming.NETWORK)
  end
end

--- All that can be wrong before a container is made: settings, image.
--- @return ContainerSpec
local function prepare(project, host)
  local run = proxy_run.there(project, host)
  local spec = project:spec(host, run)
  host:exec({ "mkdir", "-p", ".kamal/proxy/apps-config" })
  if not try(host.docker.inspect_image, host.docker, run.image) then pull(project, host, run.image) end
  return spec
end

--- Boots it where it does not run.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param look? KamalLook  what was there a moment ago
--- @return { unchanged: boolean }
function M.boot(project, host, look)
  if look and look.attached and look.proxy == "running" then return { unchanged = true } end
  M.network(host)
  local docker, found = host.docker, M.check(host)
  if found and found.running then return { unchanged = true } end
  if not found then docker:create(prepare(project, host)) end
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

--- Removes the image that it is run from here.
--- @async
--- @param project KamalProject
--- @param host Host
function M.remove_image(project, host)
  try(host.docker.remove_image, host.docker, proxy_run.there(project, host).image)
  audit.record(project, host, "Removed proxy image")
end

--- Removes its settings on the server.
--- @async
--- @param project KamalProject
--- @param host Host
function M.remove_directory(project, host)
  host:remove(".kamal/proxy", { recursive = true })
  audit.record(project, host, "Removed .kamal/proxy")
end

--- All that a boot or a reboot can do while the old one still serves.
--- @async
--- @param project KamalProject
--- @param host Host
function M.prepare(project, host)
  M.network(host)
  prepare(project, host)
end

--- Takes it away as if it had never been booted.
--- @async
--- @param host Host
function M.discard(host)
  replacing.forget(host, naming.PROXY_CONTAINER)  -- of a boot that was done twice
  try(host.docker.remove, host.docker, naming.PROXY_CONTAINER, { force = true, volumes = true })
end

--- Replaces its container; routes come back from its volume. The old one is touched once the new one can be made.
--- @async
--- @param project KamalProject
--- @param host Host
function M.reboot(project, host)
  stopping.begin(host)
  M.network(host)
  local spec = prepare(project, host)
  replacing.set_aside(host, naming.PROXY_CONTAINER)
  host.docker:create(spec)
  host.docker:start(naming.PROXY_CONTAINER)
  wait_ready(host)
  replacing.forget(host, naming.PROXY_CONTAINER)
  audit.record(project, host, "Rebooted proxy")
end

--- Takes that back: where the new one never came to run, the old one does again.
--- @async
--- @param host Host
function M.unreboot(host)
  if replacing.restore(host, naming.PROXY_CONTAINER) then wait_ready(host) end
end

return M
