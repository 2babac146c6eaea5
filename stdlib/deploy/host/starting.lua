--- How connections are begun: so many at a time, and a name is looked up again where the resolver did not answer well.

local fail = require "native.fail"
local task = require "native.task"

local M = {}

local FIRST_PAUSE, LONGEST_PAUSE = 100, 2000  -- ms between lookups, doubled each time

local at_once, lookups = math.huge, 0
local running = {}

--- How they are begun from now on.
--- @param given? { at_once?: integer, lookups?: integer }  at_once: no more than this; nil: all. lookups: so many times
---   a name is looked up again; none unless told
function M.set(given)
  at_once, lookups = math.max(1, given and given.at_once or math.huge), given and given.lookups or 0
end

local function wait_for_room()
  while #running >= at_once do
    pcall(task.join, running[1])
    if task.cancellation() then error(task.cancellation(), 0) end
  end
end

local function forget(one)
  for index, other in ipairs(running) do
    if other == one then return table.remove(running, index) end
  end
end

--- Begins one, once it is its turn.
--- @async
--- @generic T
--- @param make fun(): T
--- @return T
local function one(make)
  wait_for_room()
  local mine = task.spawn(make, { name = "connect", observed = true })
  running[#running + 1] = mine
  local ok, value = pcall(task.join, mine)
  forget(mine)
  if not ok then error(value, 0) end
  return value
end

--- Begins a connection: what `make` gives.
--- @async
--- @generic T
--- @param make fun(): T
--- @return T
function M.connect(make)
  local pause = FIRST_PAUSE
  for attempt = 0, lookups do
    local ok, value = pcall(one, make)
    if ok then return value end
    if task.cancellation() or attempt == lookups or fail.normal(value).kind ~= "ssh.resolve" then error(value, 0) end
    task.sleep(pause)
    pause = math.min(2 * pause, LONGEST_PAUSE)
  end
end

return M
