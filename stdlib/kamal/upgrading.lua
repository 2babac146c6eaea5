--- From Kamal 1: kamal-proxy in Traefik's place, and accessories in Kamal's network (Kamal's lib/kamal/cli/main.rb,
--- proxy.rb, accessory.rb). Traefik is set aside and goes at the very end: until then all of it can be undone.

local accessories = require "kamal.accessories"
local audit = require "kamal.audit"
local boot = require "kamal.boot"
local current = require "kamal.current"
local deploying = require "kamal.deploying"
local hooks = require "kamal.hooks"
local proxy = require "kamal.proxy"
local removing = require "kamal.removing"
local replacing = require "deploy.replacing"
local try = require "deploy.try"

local M = {}

local TRAEFIK = "traefik"  -- as Kamal 1 names its container

--- One group of all hosts, or one for each: { hosts, part }.
local function groups_of(project, hosts)
  if not project.options.rolling then return { { hosts = hosts } } end
  local out = {}
  for index, host in ipairs(hosts) do
    out[index] = { hosts = { host }, part = #hosts > 1 and ("%d of %d"):format(index, #hosts) or nil }
  end
  return out
end

local function named(name, group) return name .. (group.part and ", " .. group.part or "") end

--- Whether a container has its ports, or will again: one that keeps ending is started anew by the engine.
local function is_up(state) return state == "running" or state == "restarting" or state == "paused" end

--- What a server runs before anything changes. `traefik`: the state of its container; nil where there is none.
local function look(project, host)
  local found = current.look(project, host)
  local traefik = try(host.docker.inspect, host.docker, TRAEFIK)
  found.traefik = traefik and traefik.state
  return found
end

--- The look that an app is booted by: its proxy is there by then, and has at most the routes that it had.
local function booted_by(seen)
  local out = {}
  for key, value in pairs(seen) do out[key] = value end
  out.proxy = "running"
  return out
end

local function swap(project, host, seen)
  if is_up(seen.traefik) then
    proxy.prepare(project, host)
    replacing.set_aside(host, TRAEFIK)
  end
  proxy.reboot(project, host)
end

local function unswap(host, seen)
  if seen.proxy == "missing" then
    proxy.discard(host)
  else
    proxy.unreboot(host)
  end
  if is_up(seen.traefik) then replacing.restore(host, TRAEFIK) end
end

local function is_in(list, host)
  for _, one in ipairs(list) do
    if one == host then return true end
  end
  return false
end

--- Puts kamal-proxy in Traefik's place on a group of servers, and boots there what it serves.
local function replace(run, project, given, group)
  local hook = { locked = true, hosts = group.hosts, part = group.part }
  hooks.once(run, project, "pre-proxy-reboot", hook)
  run:step(named("put kamal-proxy in Traefik's place", group), {
    on = group.hosts,
    run = function(host)
      local seen = given.seen[host]
      if is_in(project.proxy_hosts, host) then swap(project, host, seen) else proxy.network(host) end
      for _, role in ipairs(project:roles_on(host)) do
        boot.boot(project, host, role, { version = given.version, look = booted_by(seen), again = true })
      end
    end,
    undo = function(host)
      local seen, roles = given.seen[host], project:roles_on(host)
      for _, role in ipairs(roles) do
        boot.unboot(project, host, role, { version = given.version, look = booted_by(seen) })
      end
      if is_in(project.proxy_hosts, host) then unswap(host, seen) end
    end,
  })
  hooks.once(run, project, "post-proxy-reboot", hook)
end

--- `afterwards`: what else is done while all can still be undone.
local function proxies(run, project, afterwards)
  deploying.boot_held(run, project, {
    look = function()
      return run:step("look at the servers", { on = project.hosts, reads = true,
        run = function(host) return look(project, host) end })
    end,
    boot = function(_, _, given)
      for _, group in ipairs(groups_of(project, project.hosts)) do replace(run, project, given, group) end
      if afterwards then afterwards() end
    end,
  })
  deploying.prune(run, project)
  run:step("remove Traefik", { on = project.proxy_hosts, final = true, run = function(host)
    local docker, gone = host.docker, false
    for _, name in ipairs { TRAEFIK .. replacing.ASIDE, TRAEFIK } do
      local found = try(docker.inspect, docker, name)
      if found and not found.running then
        docker:remove(found.id, { force = true })
        try(docker.remove_image, docker, found.image_id)
        gone = true
      end
    end
    if gone then audit.record(project, host, "Removed Traefik") end
    return { unchanged = not gone }
  end })
end

local function restart(run, project, list)
  for _, accessory in ipairs(list) do
    for _, group in ipairs(groups_of(project, project:accessory_hosts(accessory))) do
      run:step(named("reboot accessory " .. accessory.name, group), {
        on = group.hosts,
        run = function(host)
          proxy.network(host)
          accessories.reboot(project, host, accessory)
        end,
        undo = function(host) accessories.unreboot(project, host, accessory) end,
      })
    end
  end
end

M["proxy upgrade"] = function(project, run)
  removing.confirmed(project, "This will replace Traefik with kamal-proxy: a brief outage on each host.")
  deploying.locked(run, project, project.options.version or "latest", function() proxies(run, project) end)
end

M["accessory upgrade"] = function(project, run)
  local wanted = project.arguments[1]
  local list = wanted == "all" and project.config.accessories or { project:accessory(wanted) }
  removing.confirmed(project, "This will restart accessories.")
  deploying.locked(run, project, "", function() restart(run, project, list) end)
end

M["upgrade"] = function(project, run)
  removing.confirmed(project, "This will replace Traefik with kamal-proxy and restart all accessories.")
  deploying.locked(run, project, project.options.version or "latest", function()
    proxies(run, project, function() restart(run, project, project.config.accessories) end)
  end)
end

return M
