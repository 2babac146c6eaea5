--- What takes things away from servers: app remove, proxy remove, accessory remove and their single steps, and remove,
--- which is all of them.

local accessories = require "kamal.accessories"
local audit = require "kamal.audit"
local boot = require "kamal.boot"
local current = require "kamal.current"
local deploying = require "kamal.deploying"
local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local proxy = require "kamal.proxy"
local registry = require "kamal.registry"
local remove_image = require "deploy.remove_image"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

--- Raises unless the command line says so; a plan needs no yes.
--- @param project KamalProject
--- @param question string
function M.confirmed(project, question)
  if project.options.confirmed or door.is_kept() then return end
  fail.usage(question .. " Say --confirmed (-y) if you are sure.")
end

local function step(run, name, hosts, fn)
  if #hosts > 0 then run:step(name, { on = hosts, run = fn }) end
end

--- Stops the app's roles on a host; the proxy lets go of them first.
--- @async
--- @param project KamalProject
--- @param host Host
function M.stop_app(project, host)
  local look = current.look(project, host)
  for _, role in ipairs(project:roles_on(host)) do
    local service, own = naming.prefix(project.config, role), look.roles[role.name]
    if role.proxy and look.routes[service] then boot.proxy(project, host, { "kamal-proxy", "remove", service }) end
    audit.record(project, host, "Stopped app", role)
    for _, one in ipairs(own.containers) do
      if one.running then host.docker:stop(one.id, boot.stop_timeout(project, role)) end
    end
  end
end

local function remove_containers(project, host, which)
  local look, removed = current.look(project, host), {}
  for _, role in ipairs(project:roles_on(host)) do
    for _, one in ipairs(look.roles[role.name].containers) do
      if not one.running and (which == nil or one.version == which) then
        host.docker:remove(one.id, { volumes = true })
        removed[#removed + 1] = one.name
      end
    end
    audit.record(project, host, which and ("Removed app container with version " .. which)
      or "Removed all app containers", role)
  end
  return { unchanged = #removed == 0, note = table.concat(removed, ", ") }
end

--- Images of the service that no container uses.
local function remove_images(project, host)
  local docker, removed = host.docker, {}
  for _, image in ipairs(docker:list_images { labels = { "service=" .. project.config.service } }) do
    for _, ref in ipairs(#image.tags > 0 and image.tags or { image.id }) do
      if remove_image(docker, ref) then removed[#removed + 1] = ref end
    end
  end
  audit.record(project, host, "Removed all app images")
  return { unchanged = #removed == 0, note = table.concat(removed, ", ") }
end

local function remove_directories(project, host)
  host:remove(naming.app_directory(project.config), { recursive = true })
  host:remove((naming.proxy_app(project.config)), { recursive = true })
  audit.record(project, host, ("Removed %s"):format(naming.app_directory(project.config)))
end

--- The hosts of which every role was chosen: only there nobody else needs the images and the folders.
local function whole_hosts(project)
  local out = {}
  for _, host in ipairs(project.app_hosts) do
    if #project:roles_on(host) == #project.config:roles_on(host.name) then out[#out + 1] = host end
  end
  return out
end

local function remove_app(project, run)
  local whole = whole_hosts(project)
  step(run, "stop the app", project.app_hosts, function(host) M.stop_app(project, host) end)
  step(run, "remove the app's containers", project.app_hosts, function(host)
    return remove_containers(project, host)
  end)
  step(run, "remove the app's images", whole, function(host) return remove_images(project, host) end)
  step(run, "remove the app's folders", whole, function(host) remove_directories(project, host) end)
end

M["app remove"] = function(project, run)
  deploying.locked(run, project, "", function() remove_app(project, run) end)
end

local function single(name, fn, hosts_of)
  return function(project, run)
    deploying.locked(run, project, "", function()
      step(run, name, hosts_of and hosts_of(project) or project.app_hosts, function(host) return fn(project, host) end)
    end)
  end
end

M["app remove_container"] = single("remove the version's container", function(project, host)
  return remove_containers(project, host, project.arguments[1])
end)
M["app remove_containers"] = single("remove the app's stopped containers", function(project, host)
  return remove_containers(project, host)
end)
M["app remove_images"] = single("remove the app's images", remove_images, whole_hosts)
M["app remove_app_directories"] = single("remove the app's folders", remove_directories, whole_hosts)

-- proxy

--- Other apps (or this one) still have their folder there: the proxy may be theirs.
local function apps_on(host)
  return (host:exec({ "sh", "-c", "ls .kamal/apps 2>/dev/null || true" }, { reads = true }).stdout:gsub("%s+$", "")
    :gsub("\n", ", "))
end

local function remove_proxy(project, run, is_part)
  local function allowed(host)
    if project.options.force then return true end
    local apps = apps_on(host)
    if apps == "" then return true end
    if not is_part then
      fail.raise("kamal.in_use", ("other applications are installed there: %s"):format(apps), { host = host.name,
        hint = "`proxy remove --force` removes it all the same; their traffic ends with it" })
    end
    return false, apps
  end
  run:step("remove the proxy", { on = project.proxy_hosts, run = function(host)
    local ok, apps = allowed(host)
    if not ok then return { unchanged = true, note = "other applications use it: " .. apps } end
    proxy.remove(project, host)
    proxy.remove_image(project, host)
    proxy.remove_directory(project, host)
  end })
end

M["proxy remove"] = function(project, run)
  deploying.locked(run, project, "", function() remove_proxy(project, run) end)
end

local function proxy_hosts(project) return project.proxy_hosts end

M["proxy remove_container"] = single("remove the proxy's container", proxy.remove, proxy_hosts)
M["proxy remove_image"] = single("remove the proxy's image", proxy.remove_image, proxy_hosts)
M["proxy remove_proxy_directory"] = single("remove the proxy's folder", proxy.remove_directory, proxy_hosts)

-- accessories

local function chosen(project)
  local wanted = project.arguments[1]
  return wanted == "all" and project.config.accessories or { project:accessory(wanted) }
end

local function of_accessories(project, run, list, name, fn)
  for _, accessory in ipairs(list) do
    step(run, name:format(accessory.name), project:accessory_hosts(accessory), function(host)
      fn(project, host, accessory)
    end)
  end
end

local function single_accessory(name, fn)
  return function(project, run)
    local list = chosen(project)
    deploying.locked(run, project, "", function() of_accessories(project, run, list, name, fn) end)
  end
end

M["accessory remove"] = function(project, run)
  M.confirmed(project, ("This will remove all containers, images and data directories for %s."):format(
    project.arguments[1]))
  single_accessory("remove accessory %s", accessories.remove)(project, run)
end
M["accessory remove_container"] = single_accessory("remove the container of %s", accessories.remove_container)
M["accessory remove_image"] = single_accessory("remove the image of %s", accessories.remove_image)
M["accessory remove_service_directory"] = single_accessory("remove the folder of %s", accessories.remove_directory)

-- everything

M["remove"] = function(project, run)
  M.confirmed(project, "This will remove all containers and images.")
  deploying.locked(run, project, "", function()
    remove_app(project, run)
    of_accessories(project, run, project.config.accessories, "remove accessory %s", accessories.remove)
    remove_proxy(project, run, true)
    registry.logout_remote(project, run)
  end)
end

return M
