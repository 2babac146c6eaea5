--- Commands that change something beside a deploy: proxy, accessories, lock, pruning, the app's life.

local accessories = require "kamal.accessories"
local audit = require "kamal.audit"
local boot = require "kamal.boot"
local current = require "kamal.current"
local deploying = require "kamal.deploying"
local fail = require "native.fail"
local lock = require "kamal.lock"
local naming = require "kamal.naming"
local proxy = require "kamal.proxy"
local proxy_args = require "kamal.proxy_args"
local prune = require "kamal.prune"
local report = require "native.report"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local function confirmed(project, question)
  if project.options.confirmed or require("native.door").is_kept() then return end
  fail.usage(question .. " Say --confirmed (-y) if you are sure.")
end

--- One step on some hosts with the deploy lock held.
local function locked_step(run, project, name, hosts, fn, rolling)
  deploying.locked(run, project, project.options.version or "", function()
    run:step(name, { on = hosts, run = fn, rolling = rolling })
  end)
end

for _, kind in ipairs { "setup", "deploy", "redeploy" } do
  M[kind] = function(project, run) deploying.deploy(run, project, kind) end
end
M["rollback"] = function(project, run) deploying.rollback(run, project) end
M["build pull"] = function(project, run) deploying.pull(run, project, project.config:version()) end

-- app

local function each_role(project, host, fn)
  local look = current.look(project, host)
  for _, role in ipairs(project:roles_on(host)) do fn(role, look.roles[role.name], look) end
end

M["app stop"] = function(project, run)
  locked_step(run, project, "stop the app", project.app_hosts, function(host)
    each_role(project, host, function(role, own, look)
      local service = naming.prefix(project.config, role)
      if role.proxy and look.routes[service] then boot.proxy(host, { "kamal-proxy", "remove", service }) end
      audit.record(project, host, "Stopped app", role)
      if own.current then host.docker:stop(own.current.id, boot.stop_timeout(project, role)) end
    end)
  end)
end

M["app start"] = function(project, run)
  local version = project.config:version()
  locked_step(run, project, "start the app", project.app_hosts, function(host)
    for _, role in ipairs(project:roles_on(host)) do
      local name = naming.container(project.config, role, version)
      audit.record(project, host, "Started app version " .. version, role)
      host.docker:start(name)
      if role.proxy then
        boot.proxy(host, proxy_args.deploy(project.config, role.proxy, { service = naming.prefix(project.config, role),
          target = host.docker:inspect(name).id:sub(1, 12), version = version, role = role.name }))
      end
    end
  end)
end

local function maintenance(project, run, name, argv_of)
  locked_step(run, project, name, project.proxy_hosts, function(host)
    for _, role in ipairs(project:roles_on(host)) do
      if role.proxy then boot.proxy(host, argv_of(naming.prefix(project.config, role))) end
    end
  end)
end

M["app live"] = function(project, run)
  maintenance(project, run, "end the maintenance", function(service) return { "kamal-proxy", "resume", service } end)
end

M["app maintenance"] = function(project, run)
  local given = { drain_timeout = project.options.drain_timeout or project.config.drain_timeout,
    message = project.options.message }
  maintenance(project, run, "answer 503", function(service) return proxy_args.stop(service, given) end)
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

M["proxy reboot"] = function(project, run)
  confirmed(project, "This will cause a brief outage on each host.")
  locked_step(run, project, "reboot the proxy", project.proxy_hosts, function(host) proxy.reboot(project, host) end,
    project.options.rolling and { limit = 1 } or nil)
end

M["proxy start"] = function(project, run)
  locked_step(run, project, "start the proxy", project.proxy_hosts, function(host)
    audit.record(project, host, "Started proxy")
    host.docker:start(naming.PROXY_CONTAINER)
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

local function of_accessories(project, run, name, fn)
  local wanted = project.arguments[1]
  local list = wanted == "all" and project.config.accessories or { project:accessory(wanted) }
  deploying.locked(run, project, "", function()
    for _, accessory in ipairs(list) do
      run:step(name:format(accessory.name), { on = project:accessory_hosts(accessory),
        run = function(host) fn(project, host, accessory) end })
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
M["accessory reboot"] = function(p, run) of_accessories(p, run, "reboot accessory %s", accessories.reboot) end
M["accessory stop"] = function(p, run) of_accessories(p, run, "stop accessory %s", accessories.stop) end
M["accessory start"] = function(p, run) of_accessories(p, run, "start accessory %s", accessories.start) end
M["accessory restart"] = function(p, run)
  of_accessories(p, run, "restart accessory %s", function(...)
    accessories.stop(...)
    accessories.start(...)
  end)
end
M["accessory remove"] = function(project, run)
  confirmed(project, ("This will remove all containers, images and data directories for %s."):format(
    project.arguments[1]))
  of_accessories(project, run, "remove accessory %s", accessories.remove)
end

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

M["server bootstrap"] = function(project, run)
  run:step("see to Docker", { on = project.hosts, reads = true, run = function(host)
    local result = host:exec({ "docker", "-v" }, { check = false, reads = true })
    if result.code ~= 0 then
      fail.raise("kamal.docker", "Docker is not installed", { host = host.name,
        hint = "install it (https://get.docker.com), or let `kamal server bootstrap` do it" })
    end
  end })
  require("kamal.hooks").run(project, "docker-setup")
end


return M
