--- A clock that stands still while something happens and jumps to the next moment that somebody waits for: an hour of
--- waiting takes no time. For specs of recipes: `task.now`, `task.sleep` and time limits go by it while it is
--- installed.

local fail = require "native.fail"
local task = require "native.task"

local M = {}
local Clock = {}
Clock.__index = Clock

-- Turns of the loop in which nothing happened, before time goes on: what waits for another task takes a turn a level.
local QUIET = 16

local real = { now = task.now, sleep = task.sleep, within = task.within }

--- @return table clock  at 0 ms
function M.new()
  return setmetatable({ time = 0, _sleepers = {}, _activity = 0, _busy = 0 }, Clock)
end

--- Something happens now.
function Clock:stir() self._activity = self._activity + 1 end

--- Runs what waits for the outside world, in real time; the clock stands still.
--- @async
--- @generic T
--- @param fn fun(...): T
--- @return T
function Clock:outside(fn, ...)
  self._busy = self._busy + 1
  local function done(ok, ...)
    self._busy = self._busy - 1
    self:stir()
    if not ok then error((...), 0) end
    return ...
  end
  return done(pcall(fn, ...))
end

function Clock:_next()
  local first
  for one in pairs(self._sleepers) do
    if not first or one.wake < first.wake or (one.wake == first.wake and one.number < first.number) then first = one end
  end
  return first
end

function Clock:_wait(one)
  local quiet, seen = 0, self._activity
  while self.time < one.wake do
    real.sleep(0)
    if self._busy > 0 or self._activity ~= seen then quiet, seen = 0, self._activity else quiet = quiet + 1 end
    if quiet > QUIET and self:_next() == one then
      if one.wake == math.huge then
        local words = ("%s never ends, and no time limit ends it"):format(one.words or "what it does")
        fail.raise("recipe.endless_wait", words, { hint = "give the step a `timeout`" })
      end
      self.time = one.wake
      self:stir()
    end
  end
end

--- Waits on this clock; `math.huge` for ever.
--- @async
--- @param ms number
--- @param words? string
function Clock:sleep(ms, words)
  self._number = (self._number or 0) + 1
  local one = { wake = self.time + ms, number = self._number, words = words }
  self._sleepers[one] = true
  local ok, err = pcall(self._wait, self, one)
  self._sleepers[one] = nil
  if not ok then error(err, 0) end
end

--- As `task.within`, on this clock.
function Clock:within(ms, name, fn)
  if not ms then return fn() end
  local late = false
  local worker = task.spawn(fn, { name = name, observed = true })
  local timer = task.spawn(function()
    self:sleep(ms)
    late = true
    worker:cancel("its time is up")
  end, { name = "limit of " .. name, observed = true })
  local ok, value = pcall(task.join, worker)
  timer:cancel("not needed any more")
  pcall(task.join, timer)
  if ok then return value end
  if late and task.cancellation() == nil then
    fail.raise("timeout", ("%s: not finished within %d ms"):format(name, ms))
  end
  error(value, 0)
end

--- Everything goes by this clock from now on.
function Clock:install()
  task.now = function() return self.time end
  task.sleep = function(ms) self:sleep(ms) end
  task.within = function(ms, name, fn) return self:within(ms, name, fn) end
end

--- Everything goes by the real clock again.
function Clock:remove() task.now, task.sleep, task.within = real.now, real.sleep, real.within end

return M
