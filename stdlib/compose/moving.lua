--- How a release's services come and go on one server: beside the old ones, or, where only one may write a volume,
--- after them. Each call is repeatable and is told what a look found before the run began.

local app_module = require "deploy.app"
local container = require "deploy.app.container"
local door = require "native.door"
local fail = require "native.fail"
local json = require "native.json"
local pick = require "deploy.app.pick"
local render = require "compose.render"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
local task = require "native.task"
local text = require "native.text"
local tool_module = require "compose.tool"
local try = require "deploy.try"

local M = {}
local Moving = {}

local App = app_module._App
local ONE_SHOT_WITHIN = "10m"
local PATIENCE = 20  -- seconds for a Compose that nobody waits for

local function running(facts) return facts ~= nil and facts.state == "running" end

--- Which roles start beside the old ones, and which only once those are gone.
function Moving:_roles_that(stop_first)
  local out = {}
  for _, role in ipairs(self.config.roles) do
    if role.stops_first == stop_first then out[#out + 1] = role end
  end
  return out
end

--- What stands under a role's name: nil once it is out of the way.
function Moving:_clear(host, role, version, before, sent)
  local name = container.name(self.config.service, role.name, version)
  local now = try(host.docker.inspect, host.docker, name)
  if not now then return nil end
  local old = before.containers[name]
  if not (old and old.id == now.id) then return now end  -- this run made it: Compose finishes what it began
  if old.config == sent.digest and old.project == sent.project then return now end
  host.docker:rename(now.id, container.replaced_name(before.containers, old))
end

function Moving:_attach(host, id)
  local found = host.docker:inspect(id)
  if not found.networks[self.config.network] then host.docker:connect_network(self.config.network, id) end
end

function Moving:_bring_up(host, roles, version, before, sent, pins, alone)
  local out, names, missing = {}, {}, false
  for index, role in ipairs(roles) do
    names[index] = role.name
    local now = self:_clear(host, role, version, before, sent)
    local there = now and (now.running or role.one_shot and now.exit_code == 0 and now.started_at ~= "")
    missing = missing or not there
  end
  if missing then
    local ok, err = pcall(function() self:_project(before, version, sent, pins):up(host, names, { alone = alone }) end)
    if not ok then self:_explain_up(host, roles, version, err) end
  end
  for _, role in ipairs(roles) do
    local name = container.name(self.config.service, role.name, version)
    local now = host.docker:inspect(name)
    local old = before.containers[name]
    local was = old and old.id == now.id and (running(old) or role.one_shot)
    if role.proxied then self:_attach(host, now.id) end
    out[role.name] = { id = now.id, name = name, state = was and "running" or "new", route = role.route }
  end
  return out, missing
end

--- A service that others wait for ended badly: its own words say more than Compose's.
function Moving:_explain_up(host, roles, version, err)
  if task.cancellation() then error(err, 0) end
  for _, role in ipairs(roles) do
    local name = container.name(self.config.service, role.name, version)
    local found = role.one_shot and try(host.docker.inspect, host.docker, name)
    if found and not found.running and found.exit_code ~= 0 then
      fail.wrap("app.exited", ("%s ended with exit code %d"):format(name, found.exit_code), err, { host = host.name,
        container = name, code = found.exit_code, logs = text.clean(host.docker:logs(found.id, { tail = 20 }).text) })
    end
  end
  error(err, 0)
end

--- Starts what may stand beside the version before.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param sent table    what `send` returned
--- @param pinned table  what `pin` returned
--- @return Started
function Moving:start(host, version, before, sent, pinned)
  local roles = self.window and self.config.roles or self:_roles_that(false)
  local made, changed = self:_bring_up(host, roles, version, before, sent, pinned.pins)
  return { roles = made, unchanged = not changed, project = sent.project }
end

--- Takes back a start.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
function Moving:unstart(host, version, before)
  self:let_end(host, version, before)
  App.unstart(self, host, version, before)
end

--- What the server's Compose still does for a version, although nobody waits for it, comes to its end.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param patience? integer  seconds, then it is ended
function Moving:let_end(host, version, before, patience)
  if door.is_kept() then return end
  tool_module.let_end(host, before.compose or tool_module.look(host), render.projects(self.config, version),
    patience or PATIENCE)
end

--- Starts the kept containers of a release exactly as they were released; what has done its work is left alone. Where
--- some are gone, the server's Compose makes the release whole again.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param gone? ComposeGone
--- @return Started
function Moving:restart(host, version, before, gone)
  local release = gone and gone.release
  if release then
    local roles = self:_remembered(release, function(role) return self.window or not role.stops_first end)
    local made = self:_bring_up(host, roles, version, before, release.sent, release.pinned.pins, true)
    return { roles = made, unchanged = false, project = release.sent.project }
  end
  local wanted = {}
  for _, role in ipairs(self.config.roles) do
    local old = before.containers[container.name(self.config.service, role.name, version)]
    if old and not role.one_shot and (self.window or not role.stops_first) then
      wanted[#wanted + 1] = { role = role, old = old }
    end
  end
  local out = { roles = {}, unchanged = true }
  side_by_side(wanted, "restart", function(one)
    local old, role = one.old, one.role
    if not running(old) then host.docker:start(old.id) end
    local route = old.route and old.route ~= "" and json.decode(old.route) or role.route
    local state = running(old) and "running" or "woken"
    out.roles[role.name] = { id = old.id, name = old.name, state = state, route = route }
    out.project = old.project
    out.unchanged = out.unchanged and running(old)
    return true
  end)
  return out
end

--- Waits for the end of what runs once. Raises `app.exited` for another code than 0.
local function await_end(host, one)
  report.waiting(host, one.name .. " to end", text.parse_duration(ONE_SHOT_WITHIN))
  local code = task.within(text.parse_duration(ONE_SHOT_WITHIN), "the end of " .. one.name, function()
    return host.docker:wait(one.id)
  end)
  if code == 0 then return end
  fail.raise("app.exited", ("%s ended with exit code %d"):format(one.name, code), { host = host.name, code = code,
    container = one.name, logs = text.clean(host.docker:logs(one.id, { tail = 20 }).text),
    hint = "the log's last lines say why it ended" })
end

--- Waits until everything that was started is ready. Raises `app.unready` or `app.exited`.
--- @async
--- @param host Host
--- @param started Started
--- @return { ms: integer, note: string }
function Moving:wait_ready(host, started)
  local health, own = require "deploy.app.health", {}
  for _, role in ipairs(self:roles(host)) do
    if started.roles[role.name] then own[#own + 1] = role end
  end
  local waited = side_by_side(own, "ready", function(role)
    local one = started.roles[role.name]
    if not role.one_shot then
      local ok, ready = pcall(health.wait_ready, host, one, role, self.config.network, one.state)
      if ok then return ready.ms end
      local err = fail.normal(ready)
      if err.kind == "app.exited" and err.code == 0 then
        err.hint = ("does it run once? then say services.%s.one_shot: true"):format(role.name)
      end
      error(err, 0)
    end
    await_end(host, one)
    return 0
  end)
  local slowest = 0
  for _, ms in ipairs(waited) do slowest = math.max(slowest, ms) end
  return { ms = slowest, note = "after " .. text.format_duration(slowest) }
end

local function and_left_out(self, before, list)
  for _, one in ipairs(pick.left_out(before, self.config.roles)) do list[#list + 1] = one end
  return list
end

--- What of the version before has to end before the same of the new one starts.
function Moving:_writers(before, started)
  if not self.window then return pick.replaced(before, self:_roles_that(true), started) end
  return and_left_out(self, before, pick.replaced(before, self.config.roles, started))
end

--- The containers that a start replaces. What only one may write is handed over; what this release does not have goes.
function Moving:_replaced(_, before, started)
  return and_left_out(self, before, pick.replaced(before, self:_roles_that(false), started))
end

function Moving:_stop_all(host, list)
  side_by_side(list, "stop", function(one)
    stopping.stop(host, one.facts.id, one.facts.name, one.role.stop_timeout)
    return true
  end)
end

function Moving:_wake_all(host, list)
  local health = require "deploy.app.health"
  side_by_side(list, "wake", function(one)
    if not stopping.wake(host, one.facts.id, one.role.stop_timeout) then return true end
    if one.role.proxied then health.wait_ready(host, one.facts, one.role, self.config.network, "woken") end
    return true
  end)
end

--- Whether any service of this app is the only one that may write its volume.
--- @return boolean
function Moving:has_writers() return not self.window and #self:_roles_that(true) > 0 end

--- Hands over what only one may write: the old one ends, then the new one starts.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param start { sent?: table, pinned?: table, remembered?: boolean }  nil: the kept one is started again
--- @return table
function Moving:hand_over(host, version, before, start)
  stopping.begin(host)
  local roles, made, names, changed = self:_roles_that(true), {}, {}, false
  if start.remembered then roles = self:_remembered(start, function(role) return role.stops_first end) end
  for _, role in ipairs(roles) do
    local name = container.name(self.config.service, role.name, version)
    local old = before.containers[name]
    if old then made[role.name] = { id = old.id } end
  end
  local leaving = self:_writers(before, start.sent and { roles = self:_kept_as_they_are(made, before, start.sent) }
    or { roles = made })
  for index, one in ipairs(leaving) do names[index] = one.facts.name end
  self:_stop_all(host, leaving)
  local started
  if start.sent then
    started, changed = self:_bring_up(host, roles, version, before, start.sent, start.pinned.pins, true)
  else
    started = {}
    for _, role in ipairs(roles) do
      local old = before.containers[container.name(self.config.service, role.name, version)]
      if old then
        changed = host.docker:start(old.id) or changed
        started[role.name] = { id = old.id, name = old.name, state = "woken" }
      end
    end
  end
  self:wait_ready(host, { roles = started })
  return { roles = started, unchanged = not changed and #leaving == 0,
    note = #names > 0 and table.concat(names, ", ") .. " stopped first" or nil }
end

--- Those that run already and are what is wanted.
function Moving:_kept_as_they_are(made, before, sent)
  local out = {}
  for name, one in pairs(made) do
    for _, facts in pairs(before.containers) do
      if facts.id == one.id and facts.config == sent.digest and facts.project == sent.project then out[name] = one end
    end
  end
  return out
end

--- Takes that back: the new one ends, then the old one goes on.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
function Moving:unhand_over(host, version, before)
  self:let_end(host, version, before)
  for _, role in ipairs(self:_roles_that(true)) do
    local name = container.name(self.config.service, role.name, version)
    local now, old = try(host.docker.inspect, host.docker, name), before.containers[name]
    if now and not (old and old.id == now.id) then
      host.docker:stop(now.id, role.stop_timeout)
      try(host.docker.remove, host.docker, now.id, { force = true, volumes = true })
    elseif now and not running(old) and now.running then
      host.docker:stop(now.id, role.stop_timeout)
    end
    if old and not try(host.docker.inspect, host.docker, name) then host.docker:rename(old.id, name) end
  end
  self:_wake_all(host, self:_writers(before))
end

--- The undo of a switch. In a window traffic is held; it goes back with the window, once the version before runs.
--- @async
--- @param host Host
--- @param before ComposeLook
function Moving:unswitch(host, before)
  if not self.window then App.unswitch(self, host, before) end
end

--- @param app table
function M.extend(app)
  for name, fn in pairs(Moving) do app[name] = fn end
end

return M
