--- A server that is connected anew: its agent is the new connection's, also for whoever is told of that first.

local agents = require "deploy.host.agent"
local host_module = require "deploy.host"
local ssh = require "native.ssh"
local task = require "native.task"
local test = require "test"

local sessions, clients = {}, {}

local function living(list)
  local one = { lost = false, closed = 0 }
  function one.alive() return not one.lost end
  function one.close() one.lost, one.closed = true, one.closed + 1 end
  function one.stats() return { round_trips = 0, bytes_in = 0, bytes_out = 0 } end
  list[#list + 1] = one
  return one
end

function ssh.connect() return living(sessions) end

function agents.on(session)
  task.sleep(5)
  local one = living(clients)
  one.session = session
  return one
end

local function fresh(name)
  sessions, clients = {}, {}
  return host_module.host(name)
end

local function lose()
  for _, list in ipairs { sessions, clients } do list[#list].lost = true end
end

test.it("who admits a run over a new connection gets that connection's agent", function()
  local host, told = fresh "h1", {}
  host_module.set_on_connect(function(_, session) told[#told + 1] = host:_agent_over(session) end)
  local before = host:_agent()
  lose()
  local after = host:_agent()
  host_module.set_on_connect(nil)
  test.ok(told[1] == before and told[2] == after and after ~= before)
  test.equal(after:alive(), true)
  test.ok(after.session == sessions[2])
end)

test.it("an agent that was still on its way over the old connection is not taken for the new one's", function()
  local host = fresh "h2"
  host:_session()
  local old = task.spawn(function() return host:_agent() end, { name = "agent", observed = true })
  task.sleep(1)
  sessions[1].lost = true
  local new = host:_agent()
  test.ok(new.session == sessions[2])
  pcall(task.join, old)
  test.ok(host:_agent() == new)
end)

test.it("no server has the name of this machine", function()
  test.raises("usage", function() host_module.host { address = "10.0.0.7", name = "local" } end)
end)
