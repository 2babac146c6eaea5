--- State on the primary host: a copy of the run's journal beside the deploy lock, on the first host whose lock the run
--- takes, so that another machine can go on with a run, and tell what was, when the one that began it is gone.
---
--- What a change is announced by is on this machine's disk before it is asked for, and on the primary host's before it
--- is asked of any other host. What is asked of the primary host itself is sent behind its announcement, over the same
--- connection; there are never more than two of those on their way.

local answers = require "native.answers"
local fail = require "native.fail"
local json = require "native.json"
local lock_module = require "deploy.lock"
local log = require "native.log"
local native = require "native.journal"
local task = require "native.task"

local M = {}

local DEADLINE = 30000       -- ms for rows to be stored, while the primary host can be reached
local ATTEMPTS = 3           -- through so many agents
local PIECE = 2 * 1024 * 1024  -- bytes of rows in a request
local PIECE_ROWS = 1000
local MOST = 2               -- requests with rows that are on their way at a time

-- What primary hosts answer.
local RUN = { run = "string", rows = "table" }
local ROW = { number = "number", time = "number", type = "string", body = "string", hash = "string" }
local UNFINISHED = { run = "string", rows = "number", hash = "string", state = "string", recipe = "string",
  command = "string", user = "string", host = "string" }

--- @class State
local State = {}
State.__index = State

--- @param journal table  of this machine: deploy/journal.lua
--- @param mode "run"|"resume"|"abort"
--- @return State
function M.new(journal, mode)
  local self = setmetatable({ _journal = journal, _mode = mode, _stored = 0, _flights = {} }, State)
  journal:keep_copy(self)
  return self
end

local function in_pieces(rows)
  local pieces, bytes = {}, math.huge
  for _, row in ipairs(rows) do
    local last = pieces[#pieces]
    if not last or bytes + #row.body > PIECE or #last >= PIECE_ROWS then
      last, bytes = {}, 0
      pieces[#pieces + 1] = last
    end
    last[#last + 1] = row
    bytes = bytes + #row.body
  end
  return pieces
end

local function call(lock, method, run, rows)
  return lock.keeper:call(method, { claim = lock.number, run = run, rows = rows })
end

--- Puts rows where a lock is held, all but the last piece at once.
--- @return table? last  piece; nil where there are no rows
local function store_all_but_last(lock, run, rows)
  local pieces = in_pieces(rows)
  for index = 1, #pieces - 1 do call(lock, "journal.append", run, pieces[index]) end
  return pieces[#pieces]
end

local function is_over(record) return record.state ~= "running" and record.state ~= "needs_person" end

--- What this machine knows of a run that the primary host takes for unfinished: true when it is over and the primary
--- host was told so.
function State:_tell_end(lock, found)
  local rows = self._journal:copy(found.run, 0)
  local same = rows[found.rows]
  if not same or same.hash ~= found.hash or not is_over(self._journal:record(found.run)) then return false end
  local missing = {}
  for index = found.rows + 1, #rows do missing[#missing + 1] = rows[index] end
  local last = store_all_but_last(lock, found.run, missing)
  if last then call(lock, "journal.append", found.run, last) end
  return true
end

--- A lock was taken: the first one's host is the primary host. Raises `journal.unfinished` where another run waits
--- there to be resumed or aborted.
--- @async
--- @param locks Locks
--- @param lock table
function State:acquired(locks, lock)
  if lock.host.name == "local" then return end
  local found, run = lock.unfinished, self._journal.run
  if found then answers.object(found, UNFINISHED, "lock.acquire", lock.host.name) end
  -- What is gone on with and is ours before its first lock, no primary host knows: there it begins as a new run does.
  local begins = self._mode == "run" or (run ~= nil and not self._lock)
  if begins and found and found.run ~= run and not self:_tell_end(lock, found) then
    local message = ("run %s (%s of %s, by %s@%s) did not finish"):format(found.run, found.command, found.recipe,
      found.user, found.host)
    fail.raise("journal.unfinished", message, { run = found.run, command = found.command, state = found.state,
      host = lock.host.name, hint = ("finish it: deployrun %s --resume   or undo it: deployrun %s --abort"):format(
        found.recipe, found.recipe) })
  end
  if not self._lock then self._lock, self._locks = lock, locks end
end

--- Sends what the primary host does not have yet, for all who announce something in the same moment. Its task ends
--- once that is on its way. What is not known to be stored goes along again, so that their order there does not matter.
function State:_take_off()
  local flight, lock, run = {}, self._lock, self._journal.run
  self._boarding = flight
  self._flights[#self._flights + 1] = flight
  flight.sending = task.spawn(function()
    task.sleep(0)
    self._boarding = nil
    local rows = self._journal:copy(run, self._stored)
    self._locks:_make_fresh(lock, not lock.keeper:alive())
    local last = store_all_but_last(lock, run, rows)
    if not last then return end
    flight.number = last[#last].number
    flight.answer = lock.keeper:send("journal.append", { claim = lock.number, run = run, rows = last })
  end, { name = "the journal on " .. lock.host.name, timeout = DEADLINE, shielded = true, observed = true })
  return flight
end

function State:_forget(flight)
  if self._boarding == flight then self._boarding = nil end
  for index, one in ipairs(self._flights) do
    if one == flight then return table.remove(self._flights, index) end
  end
end

--- Waits until what was sent is on its way.
function State:_sent(flight) task.join(flight.sending) end

--- Waits until what was sent is stored.
function State:_landed(flight)
  task.join(flight.sending)
  if flight.answer then
    task.within(DEADLINE, "the journal on " .. self._lock.host.name, function() flight.answer:wait() end)
    self._stored = math.max(self._stored, flight.number)
  end
  self:_forget(flight)
end

function State:_watched(flight, fn)
  local ok, err = pcall(fn, self, flight)
  if ok then return end
  if not task.cancellation() then self:_forget(flight) end
  error(err, 0)
end

--- Takes note of what has been answered, and waits where too much is on its way. What was lost with its agent goes
--- along with the next ones.
function State:_make_room()
  local index = 1
  while self._flights[index] do
    local flight = self._flights[index]
    local answered = flight.answer and flight.answer:ready()
    if answered or not self._boarding and #self._flights >= MOST then
      local ok, err = pcall(self._watched, self, flight, self._landed)
      if not ok and fail.normal(err).kind ~= "agent.lost" then error(err, 0) end
      index = 1
    else
      index = index + 1
    end
  end
end

function State:_send(host_name)
  self:_make_room()
  local flight = self._boarding or self:_take_off()
  self:_watched(flight, host_name == self._lock.host.name and self._sent or self._landed)
end

--- A host is connected anew, by a run that is admitted there. What had been sent to the primary host over the
--- connection that broke may be lost; it is stored before anything else is asked there.
--- @async
--- @param host Host
function State:connected(host)
  if not self._lock or host ~= self._lock.host then return end
  self._flights = {}
  self:_watched(self:_take_off(), self._landed)
end

--- Before a change that the newest rows of this machine's journal announce: they are stored on the primary host, or
--- on their way there where it is the primary host that is changed. Raises `journal.primary`, `lock.lost`,
--- `lock.stale`.
--- @async
--- @param host_name string  what is changed
function State:send(host_name)
  if not self._lock then return end
  for attempt = 1, ATTEMPTS do
    local ok, err = pcall(self._send, self, host_name)
    if ok then return end
    err = fail.normal(err)
    if err.kind == "cancelled" or err.kind:match("^lock%.") then error(err, 0) end
    if attempt == ATTEMPTS or err.kind ~= "agent.lost" then
      fail.raise("journal.primary", ("the journal on %s could not be written"):format(self._lock.host.name),
        { host = self._lock.host.name, cause = err, hint = "nothing more is changed without it" })
    end
  end
end

--- What goes with the end of a lock: the rows that are not stored yet.
--- @async
--- @param lock table
--- @return { run: string, rows: table }?
function State:tail(lock)
  local run = self._journal.run
  if lock ~= self._lock or not run then return nil end
  for _, flight in ipairs { unpack(self._flights) } do pcall(self._landed, self, flight) end
  self._locks:_make_fresh(lock, not lock.keeper:alive())
  local last = store_all_but_last(lock, run, self._journal:copy(run, self._stored))
  return last and { run = run, rows = last } or nil
end

--- What a host knows of runs beside a lock; nil: nothing.
local function ask(place, method, params)
  params.name = place.name
  local said = lock_module.keeper(place.host):call("journal." .. method, params)
  return said ~= json.null and said or nil
end

--- One run of a host's; nil where it does not know it.
local function read(place, run)
  local found = ask(place, "read", { run = run })
  if not found then return nil end
  answers.object(found, RUN, "journal.read", place.host.name)
  answers.list(found.rows, ROW, "journal.read", place.host.name)
  return found
end

--- Where locks are on servers.
--- @return LockPlace[]
function M.places()
  local out = {}
  for _, place in ipairs(lock_module.declared()) do
    if place.host.name ~= "local" then out[#out + 1] = place end
  end
  return out
end

--- The newest runs that a primary host knows, newest first.
--- @async
--- @param place LockPlace
--- @param limit integer
--- @return RunRecord[]
function M.runs(place, limit)
  local out = {}
  local known = answers.list(ask(place, "runs", { limit = limit }) or {}, RUN, "journal.runs", place.host.name)
  for index, found in ipairs(known) do
    out[index] = native.record_of(found.run, found.rows)
  end
  return out
end

--- One run; nil where that primary host does not know it.
--- @async
--- @param place LockPlace
--- @param run string
--- @return RunRecord?
function M.record(place, run)
  local found = read(place, run)
  return found and native.record_of(found.run, found.rows) or nil
end

--- A primary host that knows a run, or, without one, that has an unfinished one; best one of that recipe.
--- @async
--- @param run string?
--- @param recipe string
--- @return LockPlace? place
--- @return { run: string, command: string }? found
function State:find(run, recipe)
  local best, found
  for _, place in ipairs(M.places()) do
    local one
    if run then
      one = read(place, run)
    else
      one = ask(place, "unfinished", {})
      if one then answers.object(one, UNFINISHED, "journal.unfinished", place.host.name) end
    end
    if one and (not best or (one.recipe == recipe and found.recipe ~= recipe)) then best, found = place, one end
  end
  return best, found
end

--- Makes this machine's journal know what a primary host knows of a run, whose word counts wherever the two differ;
--- what only this machine has beyond that stays.
--- @async
--- @param place LockPlace
--- @param run string
function State:sync(place, run)
  local there, here = read(place, run), self._journal:copy(run, 0)
  local rows = there and there.rows or {}
  if #rows == 0 then
    fail.raise("journal.unknown_run", ("%s does not know run %s any more"):format(place.host.name, run),
      { host = place.host.name, hint = "somebody removed ~/.deployrun/locks there; history tells what is known" })
  end
  local ours = here[#rows]
  if not ours or ours.hash ~= rows[#rows].hash then
    self._journal:restore(run, rows)
    log.info(("run %s goes on from what %s knows of it"):format(run, place.host.name))
  end
  self._stored = #rows
end

return M
