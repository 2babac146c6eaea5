--- A server's agents, and the databases that are reached through them.

local agent = require "deploy.host.agent"
local fail = require "native.fail"
local once = require "deploy.host.make_once"
local options = require "deploy.options"
local sqlite = require "native.sqlite"
local task = require "native.task"
local there = require "native.sqlite.there"

local M = {}
local Host = {}

local PLACE = { path = { "string", required = true }, volume = { "string" }, image = { "string" },
  container = { "string" }, user = { "string" } }

--- The one agent of this server that all share, as long as it and the connection live.
--- @async
--- @return Agent
function Host:_agent(first) return self:_agent_over(self:_session(), first) end

--- The same over a certain connection: the newest, which whoever is told of it first has before it is the host's own.
--- `first`, where it starts one for it, is asked with the agent's hello.
function Host:_agent_over(session, first)
  local running
  repeat
    running = rawget(self, "_agent_there")
    local stale = running and (running.session ~= session or not running.client:alive())
    if stale then rawset(self, "_agent_there", nil) end
    running = once(self, "_agent_there", function()
      -- Channels open one after the other, a round trip each: a look's first question goes ahead, others follow
      -- from it.
      task.sleep(0)
      local lease = self._lease and ("%dms"):format(self._lease) or nil
      local client = agent.on(session, self.name, { lease = lease, first = first })
      if first then first.agent = client end
      return { session = session, client = client }
    end)
    -- One that was on its way over an earlier connection is not this one's.
  until running.session == session or not session:alive()
  return running.client
end

--- Asks this server's agent for one thing, started for it where there is none: then a round trip sooner.
--- @async
--- @param method string
--- @param params table
--- @return any result
--- @return Agent
function Host:_ask_agent(method, params)
  local first = { method = method, params = params }
  local client = self:_agent(first)
  if first.agent == client then return client:first(), client end
  return client:call(method, params), client
end

--- A database of this server, with the calls of `deploy.sqlite`: a path there; or one in a volume, reached through a
--- throw-away container of the app's own image (nothing has to be in it); or in what a container has mounted. Relative
--- paths begin at the login user's home, in a volume at its root. `close` ends such a container, as does a run's end.
--- Raises `agent.arch`, `agent.delivery`, `agent.start`, `agent.lost` and what `deploy.sqlite.open` raises.
--- @async
--- @param place string|{ path: string, volume?: string, image?: string, container?: string, user?: string }
---   image: of the throw-away container, whose user must be able to use the database; user: instead of that user
--- @param given? { create?: boolean, read_only?: boolean, patience?: string }
--- @return SqliteDatabase
function Host:sqlite(place, given)
  if type(place) == "string" then place = { path = place } end
  options.check(place, PLACE, "host:sqlite")
  if not place.volume and not place.container then return self:_sqlite_at(place.path, given) end
  if place.volume and (place.container or not place.image) then
    fail.usage("host:sqlite: a volume comes with the image that is to reach it, and without a container")
  end
  local client, closing = self:_agent_in(place)
  local ok, database = pcall(sqlite.open_with, there.backend(client), place.path, given, self.name)
  if not ok then
    closing()
    error(database, 0)
  end
  database._closing = closing
  return database
end

--- An agent in a throw-away container; also what ends both, which the end of the connection does too.
--- @async
--- @param place { volume?: string, image?: string, container?: string, user?: string }
--- @return Agent agent
--- @return fun() close
function Host:_agent_in(place)
  local client, close = agent.in_container(self.docker, place)
  local helpers = rawget(self, "_helpers") or {}
  rawset(self, "_helpers", helpers)
  helpers[client] = close
  return client, function()
    helpers[client] = nil
    close()
  end
end

function Host:_sqlite_at(path, given)
  return sqlite.open_with(there.backend(self:_agent()), path, given, self.name)
end

function Host:_close_agents()
  local helpers = rawget(self, "_helpers") or {}
  rawset(self, "_helpers", nil)
  for _, close in pairs(helpers) do close() end
  local running = rawget(self, "_agent_there")
  rawset(self, "_agent_there", nil)
  if running then running.client:close() end
end

--- Gives hosts these calls.
--- @param host table
function M.extend(host)
  for name, fn in pairs(Host) do host[name] = fn end
end

return M
