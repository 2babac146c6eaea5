--- Agents: deployrun-agent on another machine or in a container, which does there what needs a process there (SQLite,
--- locks that the kernel frees). It lives as long as somebody talks to it: with the connection its transactions are
--- rolled back and its locks are free, at the latest after its lease. Who brings it there is deploy/host/agent.lua.
---
--- Errors: those of `native.sqlite`, `agent.lost`, `agent.protocol`, `agent.method`, `timeout`.

local await = require("native.task").await
local raw = require "native.agent.raw"
local stdlib = require "native.stdlib"
local text = require "native.text"

local M = {}

--- What runs where: agents that are compiled in, by what `uname -m` says.
M.ARCHITECTURES = { "x86_64", "aarch64" }

--- @class Agent
local Agent = {}
Agent.__index = Agent

--- Says hello through a dial that leads to an agent's input and output.
--- @async
--- @param dial userdata
--- @param options? { lease?: string, first?: { method: string, params?: table } }
---   lease: an agent that is not heard for this long is lost, "30s" unless told; first: what is asked in one breath
---   with the hello, a round trip sooner: `agent:first()` gives the answer
--- @return Agent
function M.connect(dial, options)
  options = options or {}
  local lease, first = text.duration_option(options.lease, "agent.connect: lease"), options.first or {}
  return setmetatable({ _raw = await(raw.connect(dial, { lease = lease }, first.method, first.params)) }, Agent)
end

--- A dial to an agent that is a program of this machine.
--- @param argv string[]
--- @return userdata dial
M.dial_process = raw.dial_process

--- Asks for one thing.
--- @async
--- @param method string
--- @param params? table
--- @return any result
function Agent:call(method, params)
  return await(self._raw:call(method, params))
end

--- The answer to what was asked with the hello; once.
--- @async
--- @return any result
function Agent:first() return await(self._raw:first()) end

--- An answer that is on its way.
--- @class AgentAnswer
local Answer = {}
Answer.__index = Answer

--- Waits for it. Any number may, now or later.
--- @async
--- @return any result
function Answer:wait() return await(self._raw:wait()) end

--- Whether it has come, or never will: a wait ends at once.
--- @return boolean
function Answer:ready() return self._raw:ready() end

--- Asks for one thing and returns once the question is on its way: what is sent over the same connection after that
--- comes there after it. Nobody calls it off any more.
--- @async
--- @param method string
--- @param params table
--- @return AgentAnswer
function Agent:send(method, params)
  return setmetatable({ _raw = await(self._raw:send(method, params)) }, Answer)
end

--- One statement on an open connection.
--- @async
--- @param method "query"|"run"
--- @param connection integer
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Agent:rows(method, connection, sql, values)
  return await(self._raw:rows(method, connection, sql, values))
end

--- What it said of itself: `version`, `arch`, `sqlite`, `pid`, `lease_ms`, `now_ms` (its clock when it began).
--- @return { version: string, arch: string, sqlite: string, pid: integer, lease_ms: integer, now_ms: integer }
function Agent:hello() return self._raw:hello() end

--- @return boolean
function Agent:alive() return self._raw:alive() end

--- It ends, and all it holds is free.
function Agent:close() self._raw:close() end

local programs = {}

--- A program for servers of an architecture; nil where this build has none.
--- @param arch string
--- @param what? "agent"|"backup"  "agent" unless told
--- @return { arch: string, bytes: string, sha256: string, file: string }?  file: its name where it is delivered
function M.program(arch, what)
  local name = ("%s:%s"):format(what or "agent", arch)
  if not programs[name] then
    local bytes = stdlib.source(name)
    if not bytes then return nil end
    local sha256 = text.sha256(bytes)
    programs[name] = { arch = arch, bytes = bytes, sha256 = sha256,
      file = ("%s-%s"):format(what or "agent", sha256:sub(1, 16)) }
  end
  return programs[name]
end

return M
