--- Nobody writes while a database is migrated: requests wait at the proxy, and the app's containers are frozen where
--- they stand, for what they do outside of requests. Both can be taken back at any time, by another process too: what
--- was so before the run stays so.

local container = require "deploy.app.container"
local door = require "native.door"
local fail = require "native.fail"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local FREE_WITHIN = 10000  -- ms until the containers are frozen at a moment when none has a lock
local LOOK = "100ms"       -- for one look whether they have

--- What held a role's traffic before the run is somebody's own doing and stays.
local function flows(before, role)
  local route = before.routes[role.name]
  return route ~= nil and (route.state == nil or route.state == "running")
end

local function each_flowing(app, host, before, fn)
  for _, role in ipairs(app:proxied(host)) do
    if flows(before, role) then fn(container.route_name(app.config.service, role.name), role) end
  end
end

--- The containers that ran before, but for one.
local function those_that_ran(before, but)
  local ids = {}
  for _, facts in pairs(before.containers) do
    if facts.state == "running" and facts.id ~= but then ids[#ids + 1] = facts.id end
  end
  table.sort(ids)
  return ids
end

local function in_state(host, ids, state)
  local out = {}
  local found = side_by_side(ids, "look", function(id) return try(host.docker.inspect, host.docker, id) or false end)
  for index, one in ipairs(found) do
    if one and (state == "paused") == (one.state == "paused") and one.running then out[#out + 1] = ids[index] end
  end
  return out
end

local function thaw(host, ids)
  side_by_side(in_state(host, ids, "paused"), "thaw", function(id) host.docker:unpause(id) end)
end

local function is_free(db) db:exclusive(function() end, { readers = false, patience = LOOK }) end

--- Freezes containers at a moment when none of them has a lock on the database, which it would keep.
local function freeze(host, ids, place)
  local deadline = task.now() + FREE_WITHIN
  while true do
    side_by_side(in_state(host, ids, "running"), "freeze", function(id) host.docker:pause(id) end)
    if not place or door.is_kept() then return end
    local ok, why = pcall(place.with, place, is_free)
    if ok then return end
    if fail.normal(why).kind ~= "sqlite.busy" or task.now() > deadline then error(why, 0) end
    thaw(host, ids)
    task.sleep(50)
  end
end

--- Who else has the database open: nothing of ours, and not held.
local function refuse_others(host, ids, but, place)
  if not place or door.is_kept() then return end
  local ours = {}
  for _, id in ipairs(ids) do ours[id] = true end
  if but then ours[but] = true end
  for _, holder in ipairs(place:holders()) do
    if not ours[holder.container] then
      local inside = holder.container ~= "" and (", container %s"):format(holder.container:sub(1, 12)) or ""
      fail.raise("migrate.writer", ("%s (process %d%s) has the database open, and cannot be held"):format(
        holder.command, holder.pid, inside), { host = host.name, holder_pid = holder.pid,
        holder_command = holder.command, holder_container = holder.container,
        hint = "stop it first; or `traffic = \"online\"`, which keeps what others write" })
    end
  end
end

--- Refuses who has the database open although nothing of the app runs. Raises `migrate.writer`.
--- @async
--- @param host Host
--- @param place? table  nil where there is no database yet
function M.refuse_others(host, place) refuse_others(host, {}, nil, place) end

--- Holds requests at the proxy, and waits for those under way. Gives the routes that are held.
--- @async
--- @param app App
--- @param host Host
--- @param before Look
--- @param how { traffic: "pause"|"maintenance", wait: string, message: string? }
--- @return string[]
function M.hold_requests(app, host, before, how)
  local held = {}
  each_flowing(app, host, before, function(name, role)
    held[#held + 1] = name
    local drain = role.route.drain_timeout
    report.waiting(host, "the last requests to end", text.parse_duration(drain))
    if how.traffic == "pause" then
      app.proxy:pause(host, name, { wait = how.wait, drain = drain })
    else
      app.proxy:maintenance(host, name, how.message, app:former_target(before, role))
      app.proxy:drain(host, name, { (before.routes[role.name] or {}).container }, role.route)
    end
  end)
  return held
end

--- Holds what writes. `place`: nil where there is no database yet.
--- @async
--- @param app App
--- @param host Host
--- @param before Look
--- @param how { traffic: "pause"|"maintenance", wait: string, message: string?, but?: string, place?: table }
---   but: the ID of a container that has to run
--- @return { note: string }
function M.hold(app, host, before, how)
  local held = M.hold_requests(app, host, before, how)
  local ids = those_that_ran(before, how.but)
  freeze(host, ids, how.place)
  refuse_others(host, ids, how.but, how.place)
  return { note = #held > 0 and table.concat(held, ", ") or nil, unchanged = #held == 0 and #ids == 0 }
end

local function resume(app, host, before, to)
  local now
  each_flowing(app, host, before, function(name, role)
    now = now or app.proxy:status(host)
    if now[name] and now[name].state ~= "running" then app.proxy:resume(host, name, to and to(role)) end
  end)
end

--- Gives back what `hold` took: what ran goes on, traffic goes where it went.
--- @async
--- @param app App
--- @param host Host
--- @param before Look
function M.give_back(app, host, before)
  thaw(host, those_that_ran(before))
  app:unswitch(host, before)
  resume(app, host, before, function(role) return app:former_target(before, role) end)
end

--- Lets traffic flow to where it goes now. What was frozen stays so until it is retired.
--- @async
--- @param app App
--- @param host Host
--- @param before Look
function M.release(app, host, before)
  if door.is_kept() then
    each_flowing(app, host, before, function(name) app.proxy:resume(host, name) end)
  else
    resume(app, host, before)
  end
end

return M
