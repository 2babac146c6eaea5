--- Accessories: databases and the like beside the app, each a container of its own.

local audit = require "kamal.audit"
local boot = require "kamal.boot"
local containers = require "kamal.containers"
local current = require "kamal.current"
local fail = require "native.fail"
local files = require "native.files"
local naming = require "kamal.naming"
local proxy_args = require "kamal.proxy_args"
local proxy_files = require "kamal.proxy_files"
local proxy = require "kamal.proxy"
local registry = require "kamal.registry"
local replacing = require "deploy.replacing"
local secret = require "native.secret"
local stopping = require "deploy.stopping"
local try = require "deploy.try"

local M = {}

--- Its containers on a host, stopped ones too.
local function existing(host, accessory)
  return host.docker:list { all = true, labels = { "service=" .. accessory.service } }
end

--- Makes its folders.
--- @async
--- @param _ KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.make_directories(_, host, accessory)
  for _, one in ipairs(containers.accessory_directories(accessory)) do
    host:exec({ "mkdir", "-p", one.path })
    if one.mode then host:exec({ "chmod", one.mode, one.path }) end
    if one.owner then host:exec({ "chown", one.owner, one.path }) end
  end
end

--- Uploads its files.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.upload(project, host, accessory)
  for _, one in ipairs(containers.accessory_files(accessory)) do
    if not files.exists(one.from) then
      fail.raise("config.invalid", ("%s: Missing file: %s"):format(accessory.place, one.from),
        { where = accessory.place })
    end
    local bytes = files.read(one.from)
    if one.from:match("erb$") then
      bytes = require("kamal.erb").render(bytes, { file = one.from, environment = project.environment })
    end
    host:write(one.path, bytes, { mode = ("%04d"):format(tonumber(one.mode)), make_parents = true })
    if one.owner then host:exec({ "chown", one.owner, one.path }) end
  end
end

local function serve(project, host, accessory, id)
  if not accessory.proxy then return end
  proxy_files.certificate(project, host, accessory.proxy)
  boot.proxy(project, host, proxy_args.deploy(project.config, accessory.proxy, { service = accessory.service,
    target = id:sub(1, 12) }))
end

--- All that can be wrong before a container is made: folders, files, secrets, settings, image.
--- @return ContainerSpec
local function prepare(project, host, accessory)
  M.make_directories(project, host, accessory)
  M.upload(project, host, accessory)
  local file = containers.env_file(project.config:accessory_env(accessory), function(name)
    return project.config.secrets:value(name)
  end)
  host:write(naming.accessory_env(project.config, accessory), file == "\n" and file or secret.value("env file", file),
    { mode = "0600", make_parents = true })
  local run = containers.accessory(project.config, accessory, host.name)
  if not try(host.docker.inspect_image, host.docker, run.image) then M.pull(project, host, accessory) end
  return project:spec(host, run, file, function(name, value)
    return value ~= "" and secret.value(name, value) or value
  end)
end

local function make(project, host, accessory, spec)
  audit.record(project, host, ("Booted %s accessory"):format(accessory.name))
  local id = host.docker:create(spec).id
  host.docker:start(id)
  serve(project, host, accessory, id)
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.pull(project, host, accessory)
  registry.pull(project, host, accessory.image, { credentials = project:credentials(accessory.node:get("registry")) })
end

--- What is there already: nil where one has to be made. One that never ran is what somebody who was interrupted left.
local function there(project, host, accessory)
  local found = existing(host, accessory)
  for _, one in ipairs(found) do
    if one.state == "created" then
      host.docker:remove(one.id, { force = true })
    else
      if one.state == "running" and accessory.proxy and not current.routes(host)[accessory.service] then
        serve(project, host, accessory, one.id)
      end
      return one
    end
  end
end

--- Boots one where it is not.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param accessory KamalAccessory
function M.boot(run, project, accessory)
  run:step(("boot accessory %s"):format(accessory.name), {
    on = project:accessory_hosts(accessory),
    run = function(host)
      proxy.network(host)
      if there(project, host, accessory) then return { unchanged = true, note = "a container already exists" } end
      make(project, host, accessory, prepare(project, host, accessory))
    end,
  })
end

local function each(host, accessory, fn)
  for _, one in ipairs(existing(host, accessory)) do fn(one) end
end

--- How long its container may take to end, where that is not the engine's own limit.
local function stop_timeout_of(accessory)
  local options = accessory.node:get("options")
  local seconds = options and options:get("stop-timeout")
  return seconds and tonumber(seconds.text) and ("%.0fs"):format(seconds.text) or nil
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.stop(project, host, accessory)
  audit.record(project, host, ("Stopped %s accessory"):format(accessory.name))
  each(host, accessory, function(one) host.docker:stop(one.id) end)
  if accessory.proxy and current.routes(host)[accessory.service] then
    boot.proxy(project, host, { "kamal-proxy", "remove", accessory.service })
  end
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.start(project, host, accessory)
  audit.record(project, host, ("Started %s accessory"):format(accessory.name))
  stopping.wake(host, accessory.service, stop_timeout_of(accessory) or boot.STOP)
  serve(project, host, accessory, host.docker:inspect(accessory.service).id)
end

--- Replaces its container. The old one is touched once the new one can be made.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.reboot(project, host, accessory)
  stopping.begin(host)
  M.pull(project, host, accessory)
  local spec = prepare(project, host, accessory)
  audit.record(project, host, ("Stopped %s accessory"):format(accessory.name))
  replacing.set_aside(host, accessory.service)
  make(project, host, accessory, spec)
  replacing.forget(host, accessory.service)
end

--- Takes that back: where the new one never came to run, the old one does again.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.unreboot(project, host, accessory)
  replacing.restore(host, accessory.service, function(id)
    -- Where the proxy refused the new one it still has this one, whatever the configuration asks for by now.
    local route = accessory.proxy and current.routes(host)[accessory.service]
    if not route or route.container ~= id:sub(1, 12) then serve(project, host, accessory, id) end
  end, stop_timeout_of(accessory))
end

--- Its stopped containers.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.remove_container(project, host, accessory)
  each(host, accessory, function(one)
    if one.state ~= "running" then host.docker:remove(one.id) end
  end)
  audit.record(project, host, ("Removed %s accessory container"):format(accessory.name))
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.remove_image(project, host, accessory)
  try(host.docker.remove_image, host.docker, accessory.image)
  audit.record(project, host, ("Removed %s accessory image"):format(accessory.name))
end

--- Its data.
--- @async
--- @param _ KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.remove_directory(_, host, accessory) host:remove(accessory.service, { recursive = true }) end

--- Container, image and data.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.remove(project, host, accessory)
  M.stop(project, host, accessory)
  M.remove_container(project, host, accessory)
  M.remove_image(project, host, accessory)
  M.remove_directory(project, host, accessory)
end

return M
