--- The locks of one run. Each is taken before what it is for is changed, and while it is not known to be ours nothing
--- is changed: the door asks. Taking them goes on beside the first looks at the servers; where somebody had a lock
--- meanwhile, the looks are taken again.
---
--- Locks are taken in the order of hosts and names, and only in that order anybody waits for one: no two runs wait for
--- each other.

local door = require "native.door"
local fail = require "native.fail"
local host_module = require "deploy.host"
local lock_module = require "deploy.lock"
local log = require "native.log"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local text = require "native.text"

local M = {}

local Locks = {}
Locks.__index = Locks

local RETRY = 500          -- ms between attempts to renew
local LEAST_ATTEMPT = 3000 -- ms for one, however late it is: a process that was stopped asks before it gives up
local LOOK_AGAIN = 5000    -- ms between looks who has the lock that is waited for
local OWN_GRACE = 10000    -- ms: so long a server may take to notice that the process of a run is gone

--- @class Locks

--- @param context { info: table, message: string, wait_ms?: number, state?: State, run?: fun(): string }
--- @return Locks
function M.new(context)
  return setmetatable({ _context = context, _held = {}, _by_key = {}, _until = nil }, Locks)
end

--- Which locks changes of these hosts need.
local function needed(hosts)
  local out, taken, uncovered = {}, {}, #hosts == 0
  for _, place in ipairs(lock_module.declared()) do
    for _, host in ipairs(hosts) do
      if place.covers[host.name] then
        if not taken[place] then out[#out + 1] = place end
        taken[place] = true
      end
    end
  end
  for _, host in ipairs(hosts) do
    local covered = false
    for place in pairs(taken) do covered = covered or place.covers[host.name] end
    uncovered = uncovered or not covered
  end
  if uncovered then table.insert(out, 1, lock_module.of_project(host_module.localhost)) end
  return out
end

--- Whether an app's lock is needed, which is worth beginning early.
local function is_worth_it(hosts)
  for _, place in ipairs(needed(hosts)) do
    if not place.of_project then return true end
  end
  return false
end

--- Ms that are left of --lock-wait, which counts from the first lock that is not free.
function Locks:_patience()
  local wait = self._context.wait_ms or 0
  if wait == 0 then return 0 end
  self._until = self._until or task.now() + wait
  return math.max(0, self._until - task.now())
end

local function explained(place, err, hint)
  err.host = err.host or place.host.name ~= "local" and place.host.name or nil
  err.hint = err.hint or hint
  return err
end

--- Says who has what is waited for, and again when it is another one.
local function watch(place, said)
  while true do
    task.sleep(LOOK_AGAIN)
    local ok, status = pcall(lock_module.status, place)
    local holder = ok and status.holder
    if holder and holder.id ~= said then
      said = holder.id
      log.info(("waiting for the deploy lock of %s: now held by %s"):format(place.name, lock_module.words(holder)))
    end
  end
end

--- Whether what holds a lock is the run that is gone on with: its process of before, of which the server has not heard
--- yet that it is gone.
function Locks:_is_own(holder)
  local run = self._context.run
  return run ~= nil and holder.run ~= "" and holder.run == run()
end

function Locks:_wait(lock, err)
  local place, patience, holder = lock.place, self:_patience(), lock_module.holder_of(err)
  if self:_is_own(holder) then patience = math.max(patience, OWN_GRACE) end
  local may_wait = true
  for _, other in ipairs(self._held) do may_wait = may_wait and other.place.key < place.key end
  if patience == 0 or not may_wait then
    error(explained(place, err, not may_wait and "it is needed after one that this run has already: try again later"
      or "wait for it: --lock-wait 10m"), 0)
  end
  log.info(("waiting for the deploy lock of %s, %s at most: held by %s"):format(place.name,
    text.format_duration(patience), lock_module.words(holder)), { host = err.host })
  report.waiting(place.host, "the deploy lock of " .. place.name, patience)
  local watcher = task.spawn(function() watch(place, holder.id) end, { name = "the lock's holder", observed = true })
  local ok, failure = pcall(lock.acquire, lock, patience)
  watcher:cancel("not needed any more")
  pcall(task.join, watcher)
  if not ok then error(explained(place, fail.normal(failure), "nothing was changed"), 0) end
end

function Locks:_acquire(place)
  local context = self._context
  local lock = lock_module.new(place, lock_module.claim(context.info, context.message,
    { run = context.run and context.run() or "", lease_ms = place.lease }))
  local ok, failure = pcall(lock.acquire, lock, 0)
  if not ok then
    local err = fail.normal(failure)
    if err.kind ~= "lock.held" or task.cancellation() then error(failure, 0) end
    self:_wait(lock, err)
  end
  self._held[#self._held + 1] = lock
  self._by_key[place.key] = lock
  report.emit { type = "lock.acquired", host = place.host.name, lock = place.name, id = lock.claim.id,
    token = lock.token }
  if lock.replaced then
    log.warn(("the deploy lock of %s was taken over: it was not given back by %s"):format(place.name,
      lock_module.words(lock.replaced)), { host = place.host.name })
  end
  if context.state then context.state:acquired(self, lock) end
end

--- Has a host admit this run with the token of every lock that is for it.
function Locks:_admit(host, session, agent)
  for _, lock in ipairs(self._held) do
    if lock.place.covers[host.name] and lock.admitted[host.name] ~= session then
      agent = agent or host:_agent()
      if lock.host == host then lock:acquire_again(agent, session) else lock:admit(host, agent, session) end
    end
  end
end

function Locks:_is_admitted(host)
  if host.name == "local" then return true end
  local session = rawget(host, "_ssh")
  local alive = session and session:alive()
  for _, lock in ipairs(self._held) do
    if lock.place.covers[host.name] and not (alive and lock.admitted[host.name] == session) then return false end
  end
  return true
end

--- Whoever connects while locks are held is admitted before anything else.
function Locks:_connected(host, session)
  for _, lock in ipairs(self._held) do
    if lock.place.covers[host.name] then
      if lock.host ~= host then self:_make_fresh(lock) end
      self:_admit(host, session, host:_agent_over(session))
      if self._context.state then self._context.state:connected(host) end
      return
    end
  end
end

function Locks:_open_gate()
  if self._gate then return end
  self._gate = true
  door.set_gate(function() self:check() end)
  host_module.set_on_connect(function(host, session) self:_connected(host, session) end)
end

--- Takes what these hosts need and is not held yet; returns once every one of them has admitted the run. Raises
--- `lock.held`, `lock.lost`, `lock.stale`, and what reaching a host raises.
--- @async
--- @param hosts Host[]
--- @param tolerant? boolean  a host that cannot be reached is left out; it is admitted when it is back
function Locks:hold(hosts, tolerant)
  self:_begin_renewing()
  -- Agents start side by side; the one that is asked for the lock is asked as it starts.
  local starting = {}
  for _, place in ipairs(needed(hosts)) do
    if not self._by_key[place.key] then
      for _, host in ipairs(hosts) do
        if place.covers[host.name] and host.name ~= "local" and host ~= place.host then
          starting[#starting + 1] = task.spawn(function() host:_agent() end, { name = "agent", observed = true })
        end
      end
      self:_acquire(place)
    end
  end
  self:_open_gate()
  for _, lock in ipairs(self._held) do self:_make_fresh(lock) end
  local strangers = {}
  for _, host in ipairs(hosts) do
    if not self:_is_admitted(host) then strangers[#strangers + 1] = host end
  end
  local outcomes = task.each(strangers, { on_failure = tolerant and "finish" or "cancel" }, function(host)
    local ok, err = pcall(function() self:_admit(host, host:_session()) end)
    if ok then return end
    host:close()  -- whoever comes back there is asked again
    if not tolerant then error(err, 0) end
  end)
  for _, one in ipairs(starting) do pcall(task.join, one) end
  for _, outcome in ipairs(outcomes) do
    if not outcome.ok then error(outcome.error or task.cancellation(), 0) end
  end
end

--- Takes a lock before it is known whose changes it is for: with a run that is known beside it, its holder goes on.
--- @async
--- @param place LockPlace
function Locks:take(place)
  self:_begin_renewing()
  if not self._by_key[place.key] then self:_acquire(place) end
  self:_open_gate()
end

--- Makes a look at these hosts while their locks are being taken; takes it again where somebody had a lock meanwhile.
--- @async
--- @param hosts Host[]
--- @param look fun()
--- @param again fun()  called before the second look
--- @return any
function Locks:hold_beside(hosts, look, again)
  local missing = false
  for _, place in ipairs(needed(hosts)) do missing = missing or not self._by_key[place.key] end
  if not missing or not is_worth_it(hosts) then return look() end
  local began = task.now()
  self:_begin_renewing()
  local holding = task.spawn(function() self:hold(hosts) end, { name = "the deploy lock", observed = true })
  local ok, value = pcall(look)
  if not ok then
    holding:cancel("not needed any more")
    pcall(task.join, holding)
    error(value, 0)
  end
  task.join(holding)
  for _, lock in ipairs(self._held) do
    if lock.acquired >= began and not lock:was_free_since(began) then
      log.info("somebody deployed until a moment ago: the servers are looked at again")
      again()
      return look()
    end
  end
  return value
end

--- Renews all locks again and again, until `close`. Begun by the run's own task, below which it lives.
function Locks:_begin_renewing()
  if self._renewing then return end
  self._renewing = task.spawn(function()
    while true do
      local least = lock_module.LEASE
      for _, lock in ipairs(self._held) do least = math.min(least, lock.place.lease) end
      task.sleep(least / 3 * (0.8 + 0.2 * math.random()))
      for _, lock in ipairs(self._held) do
        if not self._closing and not self.lost then
          local ok, err = pcall(self._make_fresh, self, lock, true)
          if not ok then self:_stop(err) end
        end
      end
    end
  end, { name = "the deploy lock's renewal", shielded = true, observed = true })
end

--- Ends what is being changed: nobody knows whose the lock is.
function Locks:_stop(err)
  if not self._work then return end
  self._stopped = err
  self._work:cancel("the deploy lock could not be renewed")
end

--- Attempts to renew until it is so, for as long as the lock is fresh, and at least for a moment.
local function persist(lock)
  local last = math.max(lock:fresh_until(), task.now() + LEAST_ATTEMPT)
  while true do
    local left = last - task.now()
    local ok, err = pcall(task.within, math.max(1, left), "the deploy lock's renewal", function() lock:renew() end)
    if ok then return end
    err = fail.normal(err)
    if err.kind:match("^lock%.") or err.kind == "usage" or task.now() + RETRY >= last then
      error(lock:lost_error(err), 0)
    end
    task.sleep(RETRY)
  end
end

--- Renews a lock that is not fresh any more (`now`: in any case), once for all who ask.
function Locks:_make_fresh(lock, now)
  if self.lost then error(self.lost, 0) end
  if lock:is_fresh() and not now then return end
  if lock.host.name == "local" then return lock:renew() end
  if not lock.renewal then
    lock.renewal = task.spawn(function() persist(lock) end,
      { name = "the deploy lock", shielded = true, observed = true })
  end
  local renewal = lock.renewal
  local ok, err = pcall(task.join, renewal)
  if lock.renewal == renewal and renewal:finished() then lock.renewal = nil end
  if ok then return end
  err = fail.normal(err)
  -- Somebody else has it: that is for good.
  if err.kind == "lock.stale" or (err.kind == "lock.lost" and not err.cause) then self.lost = err end
  error(err, 0)
end

--- Before a change: whether the locks are ours. Raises `lock.lost`, `lock.stale`.
--- @async
function Locks:check()
  if self.lost then error(self.lost, 0) end
  for _, lock in ipairs(self._held) do
    if not lock:is_fresh() then self:_make_fresh(lock) end
  end
end

--- Makes changes; they are ended when a lock could not be renewed in time.
--- @async
--- @generic T
--- @param fn fun(): T
--- @return T
function Locks:within(fn)
  local work = task.spawn(fn, { name = "changes", observed = true })
  self._work, self._stopped = work, nil
  local ok, value = pcall(task.join, work)
  self._work = nil
  if ok then return value end
  if self._stopped and not task.cancellation() then error(self._stopped, 0) end
  error(value, 0)
end

--- Begins the run in the project's journal; while another run of the project is in progress it is waited for, as for a
--- lock.
--- @async
--- @param begin fun(): string
--- @return string run
function Locks:wait_for_journal(begin)
  local said
  while true do
    local ok, value = pcall(begin)
    if ok then return value end
    local err = fail.normal(value)
    if err.kind ~= "journal.busy" or self:_patience() == 0 or task.cancellation() then error(value, 0) end
    if not said then log.info("waiting for another run of this project: " .. err.message) end
    said = true
    task.sleep(RETRY)
  end
end

--- Whether any was taken.
--- @return boolean
function Locks:any() return #self._held > 0 end

--- Gives one lock back, with the end of the run's journal, which must not come after it.
function Locks:_release(lock)
  local state, tail = self._context.state, nil
  local ok, err = pcall(function()
    tail = state and state:tail(lock)
    lock:release(tail)
  end)
  if ok then return end
  if not tail then pcall(lock.release, lock) end
  log.warn(("%s does not know yet how the run ended: %s"):format(lock.host.name, fail.normal(err).message))
end

--- Gives everything back.
--- @async
function Locks:close()
  self._closing = true
  if self._renewing then
    self._renewing:cancel("the run is over")
    pcall(task.join, self._renewing)
  end
  if self._gate then
    door.set_gate(nil)
    host_module.set_on_connect(nil)
  end
  side_by_side(self._held, "the deploy lock", function(lock) self:_release(lock) end, "finish")
end

return M
