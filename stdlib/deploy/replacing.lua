--- Replaces a container that has its name, its ports or its data to itself: the old one is stopped and set aside, goes
--- once the new one runs, and comes back where that never came to be. Each call is repeatable.

local stopping = require "deploy.stopping"
local try = require "deploy.try"

local M = {}

--- Behind the name of what is replaced.
M.ASIDE = "_set_aside"

local STOP = "10s"  -- a container's own, unless it was made with another

local function remove(docker, found)
  if found.running then docker:stop(found.id) end  -- it may be a database
  docker:remove(found.id, { force = true })
end

--- Stops what has the name and sets it aside; what this run had half made under the name is removed.
--- @async
--- @param host Host
--- @param name string
function M.set_aside(host, name)
  local docker = host.docker
  stopping.begin(host)
  local now = try(docker.inspect, docker, name)
  if not now then return end
  if try(docker.inspect, docker, name .. M.ASIDE) then
    remove(docker, now)
  else
    stopping.stop(host, now.id, name)
    docker:rename(now.id, name .. M.ASIDE)
  end
end

--- Lets go of what was set aside; its volumes stay.
--- @async
--- @param host Host
--- @param name string
function M.forget(host, name) try(host.docker.remove, host.docker, name .. M.ASIDE, { force = true }) end

--- Brings back what was set aside. Where nothing is, the new one had come to run, and nothing changes; or the old one
--- has its name still and was, or by another process may have been, told to end: then it is let end and runs again. The
--- name comes last: until then a repetition does all of it again.
--- @async
--- @param host Host
--- @param name string
--- @param serve? fun(id: string)   what else it needs once it runs
--- @param stop_timeout? string     the container's own, unless it is the engine's
--- @return boolean back
function M.restore(host, name, serve, stop_timeout)
  local docker = host.docker
  local old = try(docker.inspect, docker, name .. M.ASIDE)
  local now = try(docker.inspect, docker, name)
  if not old then
    local cut_off = now ~= nil and (stopping.is_asked(host, now.id) or not stopping.has_begun(host))
    local woken = cut_off and stopping.wake(host, now.id, stop_timeout or STOP)
    if woken and serve then serve(now.id) end
    return woken
  end
  if now then remove(docker, now) end
  stopping.wake(host, old.id)
  if serve then serve(old.id) end
  docker:rename(old.id, name)
  return true
end

return M
