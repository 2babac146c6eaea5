--- What a release means on one server: its containers, their readiness, their traffic, their end. Each call is
--- repeatable and is told what a look found before the run began, so that another process can finish or undo it.
--- Its image is image.lua's, names and labels are container.lua's; which releases there are is pick.lua's.

local container = require "deploy.app.container"
local health = require "deploy.app.health"
local json = require "native.json"
local pick = require "deploy.app.pick"
local remove_unused = require "deploy.remove_unused"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Release = {}

--- @class Started  what a start made of a version on one server
--- @field roles table<string, { id: string, name: string, state: "new"|"woken"|"running", route: table? }>
--- @field ref string?       its image by digest, where it came from a registry
--- @field unchanged boolean

local function running(facts) return facts ~= nil and facts.state == "running" end

function Release:_spec(role, version)
  local env = {}
  for name, value in pairs(role.env) do env[name] = tostring(value) end
  for name, value in pairs(role.secret_values) do env[name] = value end
  local settings = self.config
  return {
    name = container.name(settings.service, role.name, version), image = self:image(version), cmd = role.cmd, env = env,
    labels = container.labels(settings, role, version, container.config_digest(settings, role),
      role.route and json.encode(role.route) or nil),
    network = settings.network, volumes = role.volumes, restart = "unless-stopped", stop_timeout = role.stop_timeout,
    log_driver = "json-file", log_options = { ["max-size"] = "10m" },
  }
end

--- Whether a container that exists is the release that is wanted: same image, same configuration, same secrets.
function Release:_is_wanted(host, found, role, version)
  if found.labels[container.LABEL_CONFIG] ~= container.config_digest(self.config, role) then return false end
  local image = try(host.docker.inspect_image, host.docker, self:image(version))
  if not image or image.id ~= found.image_id then return false end
  for name, value in pairs(role.secret_values) do
    if not value:equals(found.env[name] or "") then return false end
  end
  return true
end

--- What stands under the name: nil once it is out of the way. A release that runs and is the wanted one stays; a kept
--- one is set aside, so that releases stay in the order in which they were made.
function Release:_clear_name(host, role, version, before, name)
  local now = try(host.docker.inspect, host.docker, name)
  if not now then return nil end
  local old = before.containers[name]
  local was_there = old ~= nil and now.id == old.id
  if (running(old) or not was_there) and self:_is_wanted(host, now, role, version) then return now end
  if was_there then
    host.docker:rename(now.id, container.replaced_name(before.containers, old))
  else
    host.docker:remove(now.id, { force = true, volumes = true })  -- half made by this run
  end
end

--- Starts a container, and prepares meanwhile for the traffic that it will get.
function Release:_wake(host, role, id, route)
  if not role.proxied then return host.docker:start(id) end
  side_by_side({
    function() host.docker:start(id) end,
    function()
      self.proxy:prepare_switch(host, container.route_name(self.config.service, role.name),
        { container = id, route = route })
    end,
  }, "start", function(fn) fn() end)
end

function Release:_start_role(host, role, version, before)
  local name = container.name(self.config.service, role.name, version)
  local old, now, id = before.containers[name], nil, nil
  -- Most often the name is free and there is nothing to look at first.
  if not old then
    local ok, made = pcall(host.docker.create, host.docker, self:_spec(role, version))
    if ok then
      id = made.id
    elseif type(made) ~= "table" or made.kind ~= "docker.conflict" then
      error(made, 0)
    end
  end
  if not id then
    now = self:_clear_name(host, role, version, before, name)
    id = now and now.id or host.docker:create(self:_spec(role, version)).id
  end
  if not (now and now.running) then self:_wake(host, role, id, role.route) end
  local was_there = now and now.running and old and old.id == now.id
  return { id = id, name = name, state = was_there and "running" or "new", route = role.route }
end

--- Starts each role's container, and asks meanwhile what the image is by digest.
function Release:_start_all(host, version, name, start)
  local roles = self:roles(host)
  local found = side_by_side({
    function() return side_by_side(roles, name, start) end,
    function() return self:released_ref(host, version) or false end,
  }, name, function(fn) return fn() end)
  local made = found[1]
  local started = { roles = {}, ref = found[2] or nil, unchanged = true }
  for index, role in ipairs(roles) do
    started.roles[role.name] = made[index]
    if made[index].state ~= "running" then started.unchanged = false end
  end
  return started
end

--- Starts the containers of a version, one per role of the server. What runs already and is the same stays.
--- @async
--- @param host Host
--- @param version string
--- @param before Look
--- @return Started
function Release:start(host, version, before)
  return self:_start_all(host, version, "start", function(role)
    return self:_start_role(host, role, version, before)
  end)
end

--- Starts the kept containers of a release exactly as they were released; one that is gone is made again.
--- @async
--- @param host Host
--- @param version string
--- @param before Look
--- @return Started
function Release:restart(host, version, before)
  return self:_start_all(host, version, "restart", function(role)
    local name = container.name(self.config.service, role.name, version)
    local old = before.containers[name]
    if not old then return self:_start_role(host, role, version, before) end
    local route = old.route and old.route ~= "" and json.decode(old.route) or role.route
    if not running(old) then self:_wake(host, role, old.id, route) end
    return { id = old.id, name = name, state = running(old) and "running" or "woken", route = route }
  end)
end

local function stop(host, id, role)
  report.waiting(host, "the old container to end", text.parse_duration(role.stop_timeout))
  host.docker:stop(id, role.stop_timeout)
end

local function drain(self, host, name, ids, role)
  report.waiting(host, "the last requests to end", text.parse_duration(role.route.drain_timeout))
  self.proxy:drain(host, name, ids, role.route)
end

--- Takes back a start: what the run made is removed, what it woke is stopped, what it set aside has its name again.
--- @async
--- @param host Host
--- @param version string
--- @param before Look
function Release:unstart(host, version, before)
  local docker = host.docker
  side_by_side(self:roles(host), "undo start", function(role)
    local name = container.name(self.config.service, role.name, version)
    local old, now = before.containers[name], try(docker.inspect, docker, name)
    if now and not (old and now.id == old.id) then
      if now.running then stop(host, now.id, role) end
      try(docker.remove, docker, now.id, { force = true, volumes = true })
      now = nil
    end
    if not old then return end
    if not now then
      now = try(docker.inspect, docker, old.id)
      if now then docker:rename(old.id, name) end
    end
    if now and now.running and not running(old) then stop(host, old.id, role) end
  end)
end

--- Waits until every container of a start is ready. Raises `app.unready` or `app.exited`.
--- @async
--- @param host Host
--- @param started Started
--- @return { ms: integer, note: string }
function Release:wait_ready(host, started)
  local waited = side_by_side(self:roles(host), "ready", function(role)
    local one = started.roles[role.name]
    return health.wait_ready(host, one, role, self.config.network, one.state)
  end)
  local slowest = 0
  for _, one in ipairs(waited) do slowest = math.max(slowest, one.ms) end
  return { ms = slowest, note = "after " .. text.format_duration(slowest) }
end

local function short(id) return id:sub(1, 12) end

local function gets_traffic(before, role, id)
  local route = before.routes[role.name]
  return route ~= nil and route.container == short(id)
end

--- Gives the server's traffic to the containers of a start. Requests under way stay where they are.
--- @async
--- @param host Host
--- @param before Look
--- @param started Started
--- @return { unchanged: boolean, note: string? }
function Release:switch(host, before, started)
  local result = { unchanged = true }
  for _, role in ipairs(self:proxied(host)) do
    local one = started.roles[role.name]
    if not gets_traffic(before, role, one.id) then
      local route_name = container.route_name(self.config.service, role.name)
      local target = { container = one.id, route = one.route }
      local ok, refusal = pcall(self.proxy.switch, self.proxy, host, route_name, target)
      if not ok then health.explain(host, one, refusal) end
      result.unchanged, result.note = false, one.name
    end
  end
  return result
end

--- IDs of a role's running containers that no traffic goes to.
function Release:_idle(host, role, serving)
  local ids = {}
  for _, facts in pairs(self:containers(host)) do
    if facts.role == role.name and running(facts) and not (serving and short(facts.id) == serving) then
      ids[#ids + 1] = facts.id
    end
  end
  table.sort(ids)
  return ids
end

--- Where a role's traffic went before, and how, as far as that is known; nil where it went nowhere.
--- @param before Look
--- @param role table
--- @return { container: string, route: table }?
function Release:former_target(before, role)
  local route = before.routes[role.name]
  if not route then return nil end
  for _, facts in pairs(before.containers) do
    if short(facts.id) == route.container and facts.route and facts.route ~= "" then
      return { container = route.container, route = json.decode(facts.route) }
    end
  end
  return { container = route.container, route = role.route }
end

--- Gives one role's traffic back; false where it was not away.
function Release:_give_back(host, before, role, name)
  local route, now = before.routes[role.name], self.proxy:target(host, name)
  if (now and now.container) == (route and route.container) then return false end
  if route then
    local to = self:former_target(before, role)
    local ok, refusal = pcall(self.proxy.switch, self.proxy, host, name, to)
    if not ok then
      -- A stop that was cut off goes on in the engine: what ran a moment ago may be down now. Once more, started again.
      try(host.docker.stop, host.docker, route.container)
      host.docker:start(route.container)
      if not pcall(self.proxy.switch, self.proxy, host, name, to) then error(refusal, 0) end
    end
  else
    self.proxy:remove(host, name)
  end
  return true
end

--- Gives traffic back to what had it before, and waits until nothing is under way elsewhere.
--- @async
--- @param host Host
--- @param before Look
function Release:unswitch(host, before)
  for _, role in ipairs(self:proxied(host)) do
    local route, name = before.routes[role.name], container.route_name(self.config.service, role.name)
    -- A switch that was cut off may still come true inside the proxy; once it has drained, it cannot any more.
    self:_give_back(host, before, role, name)
    repeat
      drain(self, host, name, self:_idle(host, role, route and route.container), role)
    until not self:_give_back(host, before, role, name)
    if not route then self.proxy:remove(host, name) end
  end
end

--- The containers of a server that a start replaces, by name.
function Release:_replaced(host, before, started)
  return pick.replaced(before, self:roles(host), started)
end

--- Stops every container that a start replaces, after its last request has ended. They are kept.
--- @async
--- @param host Host
--- @param before Look
--- @param started Started
--- @return { unchanged: boolean, note: string? }
function Release:retire(host, before, started)
  stopping.begin(host)
  local old = self:_replaced(host, before, started)
  for _, role in ipairs(self:proxied(host)) do
    local ids = {}
    for _, one in ipairs(old) do
      if one.role == role then ids[#ids + 1] = one.facts.id end
    end
    if not gets_traffic(before, role, started.roles[role.name].id) then
      drain(self, host, container.route_name(self.config.service, role.name), ids, role)
    end
  end
  side_by_side(old, "stop", function(one)
    stopping.stop(host, one.facts.id, "the old container", one.role.stop_timeout)
  end)
  local names = {}
  for index, one in ipairs(old) do names[index] = one.facts.name end
  return { unchanged = #names == 0, note = #names > 0 and table.concat(names, ", ") or nil }
end

--- Wakes what a retirement stopped and waits until it is ready.
--- @async
--- @param host Host
--- @param before Look
--- @param started Started
function Release:unretire(host, before, started)
  side_by_side(self:_replaced(host, before, started), "undo retirement", function(one)
    if not stopping.wake(host, one.facts.id, one.role.stop_timeout) then return end
    if one.role.proxied then health.wait_ready(host, one.facts, one.role, self.config.network, "woken") end
  end)
end

--- Notes what a start released.
function Release:_remember(host, started)
  for _, role in ipairs(self:roles(host)) do
    local one = started.roles[role.name]
    local version = one and one.name:sub(#container.name(self.config.service, role.name, "") + 1)
    if version then return self:remember(host, version, started.ref) end
  end
end

--- Lets go of stopped containers: of each role the newest `retain` are kept, none that a newer one of the same version
--- replaced; with them go images that nothing of this service uses any more. What is gone stays gone when a run is
--- undone. Which they are follows from what was there before, so that a repetition finishes what was begun.
--- @async
--- @param host Host
--- @param before Look
--- @param started Started
--- @return { unchanged: boolean, note: string? }
function Release:prune(host, before, started)
  local left, removed, names = pick.after(before.containers, started.roles), {}, {}
  for _, role in ipairs(self:roles(host)) do
    for _, facts in ipairs(pick.surplus(left, role.name, self.config.retain)) do
      left[facts.name] = nil
      removed[#removed + 1], names[#names + 1] = facts, facts.name
    end
  end
  local used, images = {}, {}
  for _, facts in pairs(left) do used[facts.image] = true end
  for _, facts in ipairs(removed) do
    if not used[facts.image] then
      used[facts.image] = true
      images[#images + 1] = facts.ref
    end
  end
  self:_remember(host, started)
  remove_unused(host.docker, removed, images)
  return { unchanged = #names == 0, note = #names > 0 and table.concat(names, ", ") or nil }
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Release) do app[name] = fn end
end

return M
