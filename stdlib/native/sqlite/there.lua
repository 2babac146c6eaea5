--- Databases behind an agent, for native/sqlite.lua: each call is a request.

local answers = require "native.answers"
local task = require "native.task"

local M = {}

local END_DEADLINE = 10000  -- ms, for giving back what a cancelled task has
local COPIED = { bytes = "number", pages = "number" }

local Connection = {}
Connection.__index = Connection

function Connection:query(sql, values) return self._agent:rows("query", self._number, sql, values) end

function Connection:run(sql, values) return self._agent:rows("run", self._number, sql, values) end

function Connection:_call(method, params)
  params.connection = self._number
  return self._agent:call(method, params)
end

function Connection:execute(sql) self:_call("execute", { sql = sql }) end

function Connection:begin(exclusive, patience)
  self:_call("begin", { exclusive = exclusive, patience_ms = patience })
end

for _, name in ipairs { "commit", "rollback" } do
  Connection[name] = function(self) self:_call(name, {}) end
end

function Connection:was_done(key) return self:_call("was_done", { key = key }) end

Connection.mark_done = function(self, key) self:_call("mark_done", { key = key }) end

--- Also where the task was cancelled; an agent that is lost has let go of it.
local function give_back(agent, method, params)
  if not agent:alive() then return end
  task.shielded(END_DEADLINE, method .. " at the agent", function() pcall(agent.call, agent, method, params) end)
end

function Connection:close() give_back(self._agent, "close", { connection = self._number }) end

--- @param agent Agent
--- @return SqliteBackend
function M.backend(agent)
  local backend = {}

  function backend.open(path, options, patience)
    local opened = agent:call("open", { path = path, create = options.create or false,
      read_only = options.read_only or false, patience_ms = patience })
    answers.object(opened, { connection = "number" }, "open")
    return setmetatable({ _agent = agent, _number = opened.connection }, Connection)
  end

  function backend.wait_free(path, patience) agent:call("wait_free", { path = path, patience_ms = patience }) end

  function backend.snapshot(from, to, check, patience)
    local copied = agent:call("snapshot", { from = from, to = to, check = check, patience_ms = patience })
    return answers.object(copied, COPIED, "snapshot")
  end

  function backend.restore(from, to, patience)
    return answers.object(agent:call("restore", { from = from, to = to, patience_ms = patience }), COPIED, "restore")
  end

  function backend.check(path, patience)
    return answers.object(agent:call("check", { path = path, patience_ms = patience }), {}, "check")
  end

  function backend.holders(path) return answers.list(agent:call("holders", { path = path }), {}, "holders") end

  function backend.space(path)
    return answers.object(agent:call("space", { path = path }), { bytes = "number", free = "number" }, "space")
  end

  function backend.remove(path) return agent:call("remove", { path = path }) end

  function backend.move(from, to) return agent:call("move", { from = from, to = to }) end

  function backend.reserve(path, bytes) agent:call("reserve", { path = path, bytes = bytes }) end

  function backend.lock(path, says, patience)
    local taken = agent:call("lock", { path = path, says = says, patience_ms = patience })
    answers.object(taken, { lock = "number" }, "lock")
    return function() give_back(agent, "unlock", { lock = taken.lock }) end
  end

  return backend
end

return M
