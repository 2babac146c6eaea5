--- Ending what runs, and having it run again after all. An engine goes on with a stop that nobody waits for any more:
--- what still runs when an undo looks at it may be down a moment later.

local door = require "native.door"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}

local MARGIN = 1000  -- ms beyond a stop's own time

local begun, asked = {}, {}  -- by host; by host and container: with which time

local function key_of(host, id) return host.name .. " " .. id end

--- From now on this process knows of every stop of a server's containers.
--- @param host Host
function M.begin(host) begun[host.name] = true end

--- Whether this process knows of every stop of a server's containers.
--- @param host Host
--- @return boolean
function M.has_begun(host) return begun[host.name] == true end

--- Stops a container.
--- @async
--- @param host Host
--- @param id string
--- @param name string           for people
--- @param stop_timeout? string  the container's own unless told
function M.stop(host, id, name, stop_timeout)
  asked[key_of(host, id)] = { stop_timeout = stop_timeout }
  report.waiting(host, name .. " to end", stop_timeout and text.parse_duration(stop_timeout) or nil)
  host.docker:stop(id, stop_timeout)
end

--- Whether this process asked for its end.
--- @param host Host
--- @param id string
--- @return boolean
function M.is_asked(host, id) return asked[key_of(host, id)] ~= nil end

--- Lets a stop that somebody else may have asked for come to its end, if there is one.
--- @async
--- @param host Host
--- @param id string
--- @param stop_timeout string
function M.let_end(host, id, stop_timeout)
  local limit = text.parse_duration(stop_timeout) + MARGIN
  report.waiting(host, "a stop that may be under way", limit)
  pcall(task.within, limit, "the end of a container", function() host.docker:wait(id, "next-exit") end)
  if task.cancellation() then error(task.cancellation(), 0) end
end

--- Sees to it that a container runs that a stop was, or may have been, asked for.
--- @async
--- @param host Host
--- @param id string
--- @param stop_timeout? string  of a stop that another process may have asked for; nil: that is not looked for
--- @return boolean woken  false: it ran all the time
function M.wake(host, id, stop_timeout)
  local docker, key = host.docker, key_of(host, id)
  local own = asked[key]
  if docker:inspect(id).running then
    if door.is_kept() or not own and (begun[host.name] or not stop_timeout) then return false end
    if own then docker:stop(id, own.stop_timeout) else M.let_end(host, id, stop_timeout) end
    if docker:inspect(id).running then return false end
  end
  asked[key] = nil
  docker:start(id)
  return true
end

return M
