--- Window mode, on one server: every request is answered by the maintenance page while the old version ends and the new
--- one, made ahead, starts. Each call is repeatable and is told what a look found before the run began.

local app_module = require "deploy.app"
local container = require "deploy.app.container"
local report = require "native.report"
local stopping = require "deploy.stopping"
local task = require "native.task"
local text = require "native.text"

local M = {}
local Window = {}

local App = app_module._App

--- Makes the new version's containers ahead, so that the window is for starting them alone.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param sent table
--- @param pinned table
--- @return { unchanged: boolean }
function Window:make(host, version, before, sent, pinned)
  local names = {}
  for _, role in ipairs(self.config.roles) do
    if not self:_clear(host, role, version, before, sent) then names[#names + 1] = role.name end
  end
  if #names > 0 then self:_project(before, version, sent, pinned.pins):create(host, names) end
  for _, role in ipairs(self:proxied(host)) do
    self:_attach(host, host.docker:inspect(container.name(self.config.service, role.name, version)).id)
  end
  return { unchanged = #names == 0 }
end

--- Whether the version runs already, as it would be shipped, and has the traffic.
function Window:_serves(host, before, version, sent)
  for _, role in ipairs(self.config.roles) do
    local facts = before.containers[container.name(self.config.service, role.name, version)]
    local same = facts and (not sent or facts.config == sent.digest and facts.project == sent.project)
    if not same or not (facts.state == "running" or role.one_shot) then return false end
  end
  for _, role in ipairs(self:proxied(host)) do
    local route = before.routes[role.name]
    local facts = before.containers[container.name(self.config.service, role.name, version)]
    if not route or facts.id:sub(1, #route.container) ~= route.container then return false end
  end
  return true
end

--- Every request is answered 503 with the maintenance page from here on, and nothing of the version before
--- runs any more. Where there is nothing to ship, no window is opened.
--- @async
--- @param host Host
--- @param before ComposeLook
--- @param version string
--- @param sent? table  what `send` returned; nil: a kept release
--- @return { unchanged: boolean, note: string? }
function Window:open_window(host, before, version, sent)
  stopping.begin(host)
  if self:_serves(host, before, version, sent) then return { unchanged = true, note = "it serves already" } end
  self._opened = self._opened or {}
  self._opened[host.name] = self._opened[host.name] or task.now()
  local names = {}
  for _, role in ipairs(self:proxied(host)) do
    local route, name = before.routes[role.name], container.route_name(self.config.service, role.name)
    if route then
      self.proxy:maintenance(host, name, nil, self:former_target(before, role))
      report.waiting(host, "the last requests to end", text.parse_duration(role.route.drain_timeout))
      self.proxy:drain(host, name, { route.container }, role.route)
      names[#names + 1] = name
    end
  end
  local leaving = self:_writers(before)
  self:_stop_all(host, leaving)
  return { unchanged = #names == 0 and #leaving == 0, note = #names > 0 and table.concat(names, ", ") or nil }
end

--- Takes that back: the version before runs and has its traffic.
--- @async
--- @param host Host
--- @param before ComposeLook
function Window:unopen_window(host, before)
  self:_wake_all(host, self:_writers(before))
  App.unswitch(self, host, before)
  self:_end_maintenance(host, before, true)
end

function Window:_end_maintenance(host, before, to)
  local now = self.proxy:status(host)
  for _, role in ipairs(self:proxied(host)) do
    local name, was = container.route_name(self.config.service, role.name), before.routes[role.name]
    local flowed = not was or was.state == nil or was.state == "running"
    if flowed and now[name] and now[name].state ~= "running" then
      self.proxy:resume(host, name, to and self:former_target(before, role))
    end
  end
end

--- Traffic flows to the new version; how long it did not is told.
--- @async
--- @param host Host
--- @param before ComposeLook
--- @return { note: string?, ms: number? }
function Window:close_window(host, before)
  self:_end_maintenance(host, before)
  local opened = (self._opened or {})[host.name]
  for _, role in ipairs(self:proxied(host)) do  -- nothing is under way where traffic was: the proxy forgets it
    local route = before.routes[role.name]
    local name = container.route_name(self.config.service, role.name)
    if route then self.proxy:drain(host, name, { route.container }, role.route) end
  end
  if not opened then return {} end
  local ms = math.floor(task.now() - opened + 0.5)
  return { ms = ms, note = ("the window was open for %s"):format(text.format_duration(ms)) }
end

--- @param app table
function M.extend(app)
  for name, fn in pairs(Window) do app[name] = fn end
end

return M
