--- Commands that change something beside a deploy: proxy, accessories, lock, pruning, the app's life.

local accessories = require "kamal.accessories"
local audit = require "kamal.audit"
local boot = require "kamal.boot"
local boot_config = require "kamal.boot_config"
local bootstrap = require "kamal.bootstrap"
local building = require "kamal.building"
local current = require "kamal.current"
local deploying = require "kamal.deploying"
local fail = require "native.fail"
local hooks = require "kamal.hooks"
local lock = require "kamal.lock"
local naming = require "kamal.naming"
local proxy = require "kamal.proxy"
local proxy_args = require "kamal.proxy_args"
local proxy_files = require "kamal.proxy_files"
local prune = require "kamal.prune"
local registry = require "kamal.registry"
local removing = require "kamal.removing"
local report = require "native.report"
local stopping = require "deploy.stopping"
local upgrading = require "kamal.upgrading"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local confirmed = removing.confirmed

--- One step on some hosts with the deploy lock held.
local function locked_step(run, project, name, hosts, fn)
  deploying.locked(run, project, project.options.version or "", function()
    run:step(name, { on = hosts, run = fn })
  end)
end

for _, kind in ipairs { "setup", "deploy", "redeploy" } do
  M[kind] = function(project, run) deploying.deploy(run, project, kind) end
end
M["rollback"] = function(project, run) deploying.rollback(run, project) end
M["build deliver"] = function(project, run)
  hooks.once(run, project, "pre-connect")
  local version = run:once("version", function() return project.config:version() end)
  building.push(run, project, version)
  deploying.pull(run, project, version)
end
M["build pull"] = function(project, run) deploying.pull(run, project, project.config:version()) end

-- app

M["app boot"] = function(project, run) deploying.boot(run, project) end

M["app stop"] = function(project, run)
  locked_step(run, project, "stop the app", project.app_hosts, function(host) removing.stop_app(project, host) end)
end

M["app start"] = function(project, run)
  local version = project.config:version()
  locked_step(run, project, "start the app", project.app_hosts, function(host)
    proxy_files.upload(project, host, version)
    for _, role in ipairs(project:roles_on(host)) do
      local name = naming.container(project.config, role, version)
      audit.record(project, host, "Started app version " .. version, role)
      stopping.wake(host, name, boot.stop_timeout(project, role) or boot.STOP)
      if role.proxy then
        boot.proxy(project, host, proxy_args.deploy(project.config, role.proxy, {
          service = naming.prefix(project.config, role), target = host.docker:inspect(name).id:sub(1, 12),
          version = version, role = role.name }))
      end
    end
  end)
end

local function maintenance(project, run, name, fn)
  locked_step(run, project, name, project.proxy_hosts, function(host)
    for _, role in ipairs(project:roles_on(host)) do
      if role.proxy then fn(host, naming.prefix(project.config, role)) end
    end
  end)
end

M["app live"] = function(project, run)
  maintenance(project, run, "end the maintenance", function(host, service) boot.live(project, host, service) end)
end

M["app maintenance"] = function(project, run)
  local given = { drain_timeout = project.options.drain_timeout or project.config.drain_timeout,
    message = project.options.message }
  maintenance(project, run, "answer 503", function(host, service)
    boot.proxy(project, host, proxy_args.stop(service, given))
  end)
end

M["app stale_containers"] = function(project, run)
  locked_step(run, project, "stop stale containers", project.app_hosts, function(host)
    local names = boot.stale(project, host, current.look(project, host), true)
    return { unchanged = #names == 0, note = table.concat(names, ", ") }
  end)
end

-- proxy

M["proxy boot"] = function(project, run)
  locked_step(run, project, "boot the proxy", project.proxy_hosts, function(host) return proxy.boot(project, host) end)
end

M["proxy boot_config"] = boot_config.command

M["proxy reboot"] = function(project, run)
  confirmed(project, "This will cause a brief outage on each host.")
  local groups = { project.proxy_hosts }
  if project.options.rolling then
    for index, host in ipairs(project.proxy_hosts) do groups[index] = { host } end
  end
  deploying.locked(run, project, project.options.version or "", function()
    for index, hosts in ipairs(groups) do
      local part = #groups > 1 and ("%d of %d"):format(index, #groups) or nil
      local hook = { locked = true, hosts = hosts, part = part }
      hooks.once(run, project, "pre-proxy-reboot", hook)
      run:step("reboot the proxy" .. (part and ", " .. part or ""), {
        on = hosts,
        run = function(host) proxy.reboot(project, host) end,
        undo = function(host) proxy.unreboot(host) end,
      })
      hooks.once(run, project, "post-proxy-reboot", hook)
    end
  end)
end

M["proxy start"] = function(project, run)
  locked_step(run, project, "start the proxy", project.proxy_hosts, function(host)
    audit.record(project, host, "Started proxy")
    stopping.wake(host, naming.PROXY_CONTAINER, boot.STOP)
  end)
end

M["proxy stop"] = function(project, run)
  locked_step(run, project, "stop the proxy", project.proxy_hosts, function(host)
    audit.record(project, host, "Stopped proxy")
    host.docker:stop(naming.PROXY_CONTAINER)
  end)
end

M["proxy restart"] = function(project, run)
  locked_step(run, project, "restart the proxy", project.proxy_hosts, function(host)
    host.docker:stop(naming.PROXY_CONTAINER)
    host.docker:start(naming.PROXY_CONTAINER)
  end)
end

-- accessories

local function of_accessories(project, run, name, fn, undo)
  local wanted = project.arguments[1]
  local list = wanted == "all" and project.config.accessories or { project:accessory(wanted) }
  deploying.locked(run, project, "", function()
    for _, accessory in ipairs(list) do
      run:step(name:format(accessory.name), { on = project:accessory_hosts(accessory),
        run = function(host) fn(project, host, accessory) end,
        undo = undo and function(host) undo(project, host, accessory) end or nil })
    end
  end)
end

M["accessory boot"] = function(project, run)
  local wanted = project.arguments[1]
  local list = wanted == "all" and project.config.accessories or { project:accessory(wanted) }
  deploying.locked(run, project, "", function()
    for _, accessory in ipairs(list) do accessories.boot(run, project, accessory) end
  end)
end
M["accessory reboot"] = function(p, run)
  of_accessories(p, run, "reboot accessory %s", accessories.reboot, accessories.unreboot)
end
M["accessory stop"] = function(p, run) of_accessories(p, run, "stop accessory %s", accessories.stop) end
M["accessory start"] = function(p, run) of_accessories(p, run, "start accessory %s", accessories.start) end
M["accessory restart"] = function(p, run)
  of_accessories(p, run, "restart accessory %s", function(...)
    accessories.stop(...)
    accessories.start(...)
  end)
end
M["accessory upload"] = function(p, run) of_accessories(p, run, "upload the files of %s", accessories.upload) end
M["accessory directories"] = function(p, run)
  of_accessories(p, run, "make the folders of %s", accessories.make_directories)
end
M["accessory pull_image"] = function(p, run) of_accessories(p, run, "pull the image of %s", accessories.pull) end

-- prune

local function retain_of(project)
  local retain = project.options.retain or project.config.retain_containers
  if retain < 1 then fail.usage("retain must be at least 1") end
  return retain
end

M["prune containers"] = function(project, run)
  local retain = retain_of(project)
  locked_step(run, project, "prune containers", project.hosts, function(host)
    return { note = table.concat(prune.containers(project, host, retain), ", ") }
  end)
end

M["prune images"] = function(project, run)
  locked_step(run, project, "prune images", project.hosts, function(host)
    return { note = table.concat(prune.images(project, host), ", ") }
  end)
end

M["prune all"] = function(project, run)
  locked_step(run, project, "prune containers and images", project.hosts, function(host)
    prune.containers(project, host, retain_of(project))
    prune.images(project, host)
  end)
end

-- lock

M["lock acquire"] = function(project, run)
  run:step("take the deploy lock", { on = { project.primary_host }, run = function()
    lock.acquire(project, lock.details(project.config:version(), project.options.message))
  end })
  report.text "Acquired the deploy lock\n"
end

M["lock release"] = function(project, run)
  run:step("release the deploy lock", { on = { project.primary_host }, run = function() lock.release(project) end })
  report.text "Released the deploy lock\n"
end

-- server

M["server bootstrap"] = function(project, run) bootstrap.run(run, project) end

-- What has a file of its own
for _, group in ipairs { building, registry, removing, upgrading } do
  for name, command in pairs(group) do
    if name:find(" ", 1, true) or name == "remove" or name == "upgrade" then M[name] = command end
  end
end

return M
