--- Accessories: databases and the like beside the app, each a container of its own.

local audit = require "kamal.audit"
local boot = require "kamal.boot"
local containers = require "kamal.containers"
local fail = require "native.fail"
local files = require "native.files"
local naming = require "kamal.naming"
local proxy_args = require "kamal.proxy_args"
local proxy = require "kamal.proxy"
local secret = require "native.secret"
local try = require "deploy.try"

local M = {}

--- Its containers on a host, stopped ones too.
local function existing(host, accessory)
  return host.docker:list { all = true, labels = { "service=" .. accessory.service } }
end

local function prepare_files(project, host, accessory)
  for _, one in ipairs(containers.accessory_directories(accessory)) do
    host:exec({ "mkdir", "-p", one.path })
    if one.mode then host:exec({ "chmod", one.mode, one.path }) end
    if one.owner then host:exec({ "chown", one.owner, one.path }) end
  end
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
  boot.proxy(host, proxy_args.deploy(project.config, accessory.proxy, { service = accessory.service,
    target = id:sub(1, 12) }))
end

local function make(project, host, accessory)
  prepare_files(project, host, accessory)
  local file = containers.env_file(project.config:accessory_env(accessory), function(name)
    return project.config.secrets:value(name)
  end)
  audit.record(project, host, ("Booted %s accessory"):format(accessory.name))
  host:write(naming.accessory_env(project.config, accessory), file == "\n" and file or secret.value("env file", file),
    { mode = "0600", make_parents = true })
  local run = containers.accessory(project.config, accessory, host.name)
  if not try(host.docker.inspect_image, host.docker, run.image) then M.pull(project, host, accessory) end
  local id = host.docker:create(project:spec(host, run, file, function(name, value)
    return value ~= "" and secret.value(name, value) or value
  end)).id
  host.docker:start(id)
  serve(project, host, accessory, id)
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.pull(project, host, accessory)
  host.docker:pull(accessory.image, { credentials = project:credentials(accessory.node:get("registry")) })
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
      if #existing(host, accessory) > 0 then return { unchanged = true, note = "a container already exists" } end
      make(project, host, accessory)
    end,
  })
end

local function each(host, accessory, fn)
  for _, one in ipairs(existing(host, accessory)) do fn(one) end
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.stop(project, host, accessory)
  audit.record(project, host, ("Stopped %s accessory"):format(accessory.name))
  each(host, accessory, function(one) host.docker:stop(one.id) end)
  if accessory.proxy then boot.proxy(host, { "kamal-proxy", "remove", accessory.service }) end
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.start(project, host, accessory)
  audit.record(project, host, ("Started %s accessory"):format(accessory.name))
  host.docker:start(accessory.service)
  serve(project, host, accessory, host.docker:inspect(accessory.service).id)
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.reboot(project, host, accessory)
  M.pull(project, host, accessory)
  M.stop(project, host, accessory)
  each(host, accessory, function(one) host.docker:remove(one.id) end)
  make(project, host, accessory)
end

--- Container, image and data.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param accessory KamalAccessory
function M.remove(project, host, accessory)
  M.stop(project, host, accessory)
  each(host, accessory, function(one) host.docker:remove(one.id) end)
  audit.record(project, host, ("Removed %s accessory image"):format(accessory.name))
  try(host.docker.remove_image, host.docker, accessory.image)
  host:remove(accessory.service, { recursive = true })
end

return M
