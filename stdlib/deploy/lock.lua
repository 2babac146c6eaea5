--- One deploy lock: which one it is, on which host, and what a run does with it. Who needs which is locks.lua's.
---
--- An agent on that host holds the lock and the kernel frees it when the agent ends; on this machine the run's own
--- process holds it. Its holder gives a sign of life every third of the lease, and every host that the lock is for has
--- admitted the run with the lock's token: where a later one was admitted, connections of an earlier one are ended.

local answers = require "native.answers"
local fail = require "native.fail"
local native = require "native.lock"
local options = require "deploy.options"
local task = require "native.task"
local text = require "native.text"

local M = {}

local Lock = {}
Lock.__index = Lock

local LEASE = 30000       -- ms, unless an app says otherwise
local FRESH = 2 / 3       -- of the lease: from then on without a sign of life nothing is changed
local CALL_DEADLINE = 10000
M.LEASE = LEASE

--- @class LockPlace  a lock that could be taken
--- @field name string
--- @field host Host      the primary host
--- @field hosts Host[]   whose changes it is for
--- @field lease number   ms
--- @field of_project? boolean  the project's own

-- What keepers of locks answer.
local TAKEN = { claim = "number", token = "number", identity = "string", free_ms = "number", replaced = "table?" }
local HOLDER = { id = "string", owner = "string", message = "string", run = "string", ci_url = "string",
  age_ms = "number?" }
local STATUS = { waiting = "table", holder = "table?" }

local places, by_key = {}, {}

local function key_of(host, name)
  local spec = host._spec or {}
  return ("%s\0%05d\0%s"):format(host.name == "local" and "" or spec.address or host.name, spec.port or 22, name)
end

--- Says that changes of these hosts need a lock: the first host is where it is.
--- @param name string
--- @param hosts Host[]
--- @param lease? number  ms
--- @return LockPlace
function M.declare(name, hosts, lease)
  local key = key_of(hosts[1], name)
  local place = by_key[key]
  if not place then
    place = { key = key, name = name, host = hosts[1], hosts = {}, lease = lease or LEASE, covers = {} }
    by_key[key] = place
    places[#places + 1] = place
  end
  for _, host in ipairs(hosts) do
    if not place.covers[host.name] then place.hosts[#place.hosts + 1] = host end
    place.covers[host.name] = true
    if lease then host._lease = math.min(host._lease or LEASE, lease) end
  end
  return place
end

local OPTIONS = { lease = { "duration" } }

--- Says that whoever changes these servers takes the deploy lock of that name first, on the first of them. Apps have a
--- lock of their own, called as their service.
--- @param name string
--- @param hosts Host|Host[]
--- @param given? { lease?: string }  how long a holder may be silent; "30s" unless told
function M.lock(name, hosts, given)
  given = options.check(given, OPTIONS, "deploy.lock")
  if type(name) ~= "string" or not name:match("^[%w][%w_.-]*$") then
    fail.usage("deploy.lock: a name is letters, digits, -, _ and .")
  end
  if type(hosts) == "table" and hosts.name then hosts = { hosts } end
  if type(hosts) ~= "table" or not hosts[1] then fail.usage("deploy.lock: expected hosts") end
  M.declare(name, hosts, text.duration_option(given.lease, "deploy.lock: lease"))
end

--- What was declared so far, in the order of hosts and names, in which locks are taken.
--- @return LockPlace[]
function M.declared()
  local sorted = { unpack(places) }
  table.sort(sorted, function(a, b) return a.key < b.key end)
  return sorted
end

--- The lock of the project's folder, for what no other lock covers.
--- @param localhost Host
--- @return LockPlace
function M.of_project(localhost)
  return { key = key_of(localhost, "project"), name = "project", host = localhost, hosts = { localhost },
    of_project = true, lease = LEASE, covers = { [localhost.name] = true } }
end

local keeper  -- of this machine

--- Whoever keeps a host's locks.
--- @async
--- @param host Host
--- @return Agent|LockKeeper
function M.keeper(host)
  if host.name ~= "local" then return host:_agent() end
  keeper = keeper or native.here()
  return keeper
end

--- Who has a lock, and who waits for it.
--- @async
--- @param place LockPlace
--- @return { holder: table?, waiting: table[] }
function M.status(place)
  local said = M.keeper(place.host):call("lock.status", { name = place.name })
  answers.object(said, STATUS, "lock.status", place.host.name)
  if said.holder then answers.object(said.holder, HOLDER, "lock.status", place.host.name) end
  answers.list(said.waiting, { owner = "string", message = "string" }, "lock.status", place.host.name)
  return said
end

--- Ends a claim: `release` of one that was taken by hand, or `break` of anybody's. Raises `lock.not_found`.
--- @async
--- @param place LockPlace
--- @param method "release"|"break"
--- @param params { id?: string, by: table }
--- @return table holder  whose it was
function M.end_claim(place, method, params)
  params.name = place.name
  local ended = M.keeper(place.host):call("lock." .. method, params)
  return answers.object(ended, HOLDER, "lock." .. method, place.host.name)
end

local CI_URLS = { "CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL" }

--- The page of the CI job that runs this; "" outside of CI.
--- @return string
function M.ci_url()
  local server, repository = os.getenv "GITHUB_SERVER_URL", os.getenv "GITHUB_REPOSITORY"
  local run = os.getenv "GITHUB_RUN_ID"
  if server and repository and run then return ("%s/%s/actions/runs/%s"):format(server, repository, run) end
  for _, name in ipairs(CI_URLS) do
    local url = os.getenv(name)
    if url and url ~= "" then return url end
  end
  return ""
end

--- What is written down of whoever claims a lock.
--- @param info table       user, host, actor, version: as of a request
--- @param message string
--- @param fields? { run?: string, lease_ms?: number, by_hand?: boolean }
--- @return table
function M.claim(info, message, fields)
  fields = fields or {}
  local owner = ("%s@%s"):format(info.user or "?", info.host or "?")
  if info.actor and info.actor ~= "" then owner = ("%s (%s)"):format(info.actor, owner) end
  local id = text.sha256(table.concat({ owner, message, os.time(), task.now(), tostring({}) }, "\0")):sub(1, 10)
  return { id = id, owner = owner, message = message, run = fields.run or "", ci_url = M.ci_url(),
    version = info.version or "", lease_ms = math.floor(fields.lease_ms or LEASE), by_hand = fields.by_hand or false }
end

--- A holder in words: `ann@laptop for 3 min 5 s: recipes/prod.lua deploy v42 (id 3f2c…)`.
--- @param holder table  as `status` gives it
--- @return string
function M.words(holder)
  local words = ("%s for %s"):format(holder.owner, text.format_duration(holder.age_ms or 0))
  if holder.message ~= "" then words = words .. ": " .. holder.message end
  local more = { "id " .. holder.id }
  if holder.by_hand then more[#more + 1] = "taken by hand" end
  if holder.run ~= "" then more[#more + 1] = "run " .. holder.run end
  if holder.ci_url ~= "" then more[#more + 1] = holder.ci_url end
  return ("%s (%s)"):format(words, table.concat(more, ", "))
end

--- The holder that an error `lock.held` names.
--- @param err table
--- @return table
function M.holder_of(err)
  local holder = {}
  for name, value in pairs(err) do
    if type(name) == "string" and name:match("^holder_") then holder[name:sub(8)] = value end
  end
  for _, name in ipairs { "owner", "message", "id", "run", "ci_url" } do holder[name] = tostring(holder[name] or "") end
  holder.age_ms = tonumber(holder.age_ms)
  return holder
end

--- A lock that a run means to take.
--- @param place LockPlace
--- @param claim table
--- @return table lock
function M.new(place, claim)
  return setmetatable({ place = place, claim = claim, admitted = {}, host = place.host }, Lock)
end

--- Takes it. Raises `lock.held` when it is somebody else's after `patience` ms.
--- @async
--- @param patience number
function Lock:acquire(patience)
  local session = self.host.name ~= "local" and self.host:_session() or nil
  local asked = task.now()
  local wish = { name = self.place.name, claim = self.claim, patience_ms = math.floor(patience),
    admit = session ~= nil }
  local taken, keeper_there
  if session then
    taken, keeper_there = self.host:_ask_agent("lock.acquire", wish)
  else
    keeper_there = M.keeper(self.host)
    taken = keeper_there:call("lock.acquire", wish)
  end
  self:_took(taken, keeper_there, session, asked)
  self.free_ms, self.replaced, self.acquired = taken.free_ms, taken.replaced, task.now()
  if self.replaced then answers.object(self.replaced, HOLDER, "lock.acquire", self.host.name) end
  self.unfinished = taken.unfinished
  if patience > 0 then self:renew() end  -- it was asked long ago
end

function Lock:_took(taken, keeper_there, session, asked)
  answers.object(taken, TAKEN, "lock.acquire", self.host.name)
  self.number, self.token, self.identity, self.keeper = taken.claim, taken.token, taken.identity, keeper_there
  self.renewed = asked
  if session then self.admitted[self.host.name] = session end
end

--- Whether nobody had it since `moment` (of task.now) but us.
--- @param moment number
--- @return boolean
function Lock:was_free_since(moment) return self.free_ms >= self.acquired - moment end

--- Whether there was a sign of life a short while ago, so that nobody can have taken it over.
--- @return boolean
function Lock:is_fresh()
  return self.host.name == "local" or task.now() < self.renewed + FRESH * self.place.lease
end

--- Until when it is fresh.
--- @return number
function Lock:fresh_until() return self.renewed + FRESH * self.place.lease end

--- Takes it again through another agent, where nobody had it meanwhile.
--- @async
--- @param agent Agent
--- @param session SshSession
function Lock:acquire_again(agent, session)
  local asked = task.now()
  local taken = agent:call("lock.acquire",
    { name = self.place.name, claim = self.claim, again = self.token, admit = true })
  self:_took(taken, agent, session, asked)
end

--- A sign of life; where the agent that held it is gone, through another one. Raises `lock.lost`, and what reaching the
--- host raises.
--- @async
function Lock:renew()
  local asked = task.now()
  local there = M.keeper(self.host)
  if there == self.keeper then
    there:call("lock.renew", { claim = self.number })
    self.renewed = asked
  else
    self:acquire_again(there, self.host:_session())
  end
end

--- Has a host admit the run with this lock's token, over the connection that is used there.
--- @async
--- @param host Host
--- @param agent Agent
--- @param session SshSession
function Lock:admit(host, agent, session)
  agent:call("lock.admit", { name = self.place.name, identity = self.identity, token = self.token })
  self.admitted[host.name] = session
end

--- Gives it back. An agent that is gone has done so.
--- @async
--- @param tail? { run: string, rows: table }  rows of the journal that are to be stored before
function Lock:release(tail)
  local alive = self.host.name == "local" or self.keeper:alive()
  if alive then
    tail = tail or {}
    task.shielded(CALL_DEADLINE, "the deploy lock", function()
      self.keeper:call("lock.release", { claim = self.number, run = tail.run, rows = tail.rows })
    end)
  end
end

--- For errors: `lock.lost` with what happened.
--- @param cause any
--- @return table
function Lock:lost_error(cause)
  local err = fail.normal(cause)
  if err.kind == "lock.lost" or err.kind == "lock.stale" then return err end
  return fail.make("lock.lost", ("the deploy lock on %s could not be renewed"):format(self.host.name),
    { host = self.host.name ~= "local" and self.host.name or nil, cause = err,
      hint = "nothing more is changed without it" })
end

return M
