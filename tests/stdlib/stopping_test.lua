--- What an undo makes of containers that were being stopped: the engine goes on with that when nobody waits any more.

local replacing = require "deploy.replacing"
local stopping = require "deploy.stopping"
local task = require "native.task"
local test = require "test"

--- A server with one container, which ends `slow` ms after it was told to.
local function server(name, slow)
  local one = { running = true, ends = nil, starts = 0, stops = 0 }
  local function settle()
    if one.ends and task.now() >= one.ends then one.running, one.ends = false, nil end
  end
  function one.ask_to_end() one.ends = one.ends or task.now() + slow end
  local docker = {}
  function docker.inspect()
    settle()
    return { running = one.running }
  end
  function docker.stop()
    one.stops = one.stops + 1
    settle()
    if not one.running then return false end
    one.ask_to_end()
    task.sleep(math.max(0, one.ends - task.now()) + 1)
    settle()
    return true
  end
  function docker.wait()
    settle()
    while one.running do
      task.sleep(5)
      settle()
    end
  end
  function docker.start() one.running, one.ends, one.starts = true, nil, one.starts + 1 end
  one.host = { name = name, docker = docker }
  return one
end

local function cut_off(one)
  local stop = task.spawn(function() stopping.stop(one.host, "c1", "the old container", "1s") end,
    { name = "stop", observed = true })
  task.sleep(10)
  stop:cancel("interrupted")
  pcall(task.join, stop)
end

test.it("what a stop that was called off still ends runs again", function()
  local one = server("h1", 80)
  stopping.begin(one.host)
  cut_off(one)
  test.equal(one.running, true)  -- as an undo finds it
  test.equal(stopping.wake(one.host, "c1", "1s"), true)
  task.sleep(100)
  test.equal({ one.host.docker.inspect().running, one.starts }, { true, 1 })
end)

test.it("what nobody told to end goes on as it is", function()
  local one = server("h2", 50)
  stopping.begin(one.host)
  test.equal(stopping.wake(one.host, "c1", "1s"), false)
  test.equal({ one.starts, one.stops }, { 0, 0 })
end)

test.it("another process may have told it to end: that is waited for, and nothing is stopped", function()
  local one = server("h3", 60)
  one.ask_to_end()
  test.equal(stopping.wake(one.host, "c1", "1s"), true)
  test.equal({ one.starts, one.stops, one.running }, { 1, 0, true })
  local other = server("h4", 60)
  test.equal(stopping.wake(other.host, "c1", "50ms"), false)
  test.equal({ other.starts, other.stops }, { 0, 0 })
end)

test.it("what was not set aside yet, because that was cut off, runs again", function()
  local one, served = server("h6", 80), {}
  local inspect = one.host.docker.inspect
  one.host.docker.inspect = function(self, name)
    if name:find("_set_aside", 1, true) then error({ kind = "docker.not_found", message = "none" }, 0) end
    local found = inspect(self)
    return { id = "c1", running = found.running }
  end
  local setting = task.spawn(function() replacing.set_aside(one.host, "db") end, { name = "stop", observed = true })
  task.sleep(10)
  setting:cancel("interrupted")
  pcall(task.join, setting)
  test.equal(one.running, true)
  test.equal(replacing.restore(one.host, "db", function(id) served[#served + 1] = id end), true)
  test.equal({ one.running, one.starts, served }, { true, 1, { "c1" } })
  test.equal(replacing.restore(one.host, "db"), false)
end)

--- A container that has its name still: nothing is set aside.
local function named(one)
  local inspect = one.host.docker.inspect
  one.host.docker.inspect = function(self, name)
    if name == "db_set_aside" then error({ kind = "docker.not_found", message = "none" }, 0) end
    return { id = "c1", running = inspect(self).running }
  end
  return one
end

test.it("what another process was about to set aside runs again, whether it has ended by then or not", function()
  local ending, ended = named(server("h7", 60)), named(server("h8", 0))
  ending.ask_to_end()
  ended.running = false
  for _, one in ipairs { ending, ended } do
    local served = {}
    test.equal(replacing.restore(one.host, "db", function(id) served[#served + 1] = id end, "1s"), true)
    task.sleep(80)
    test.equal({ one.host.docker.inspect().running, one.starts, served }, { true, 1, { "c1" } })
  end
  local other = named(server("h9", 0))
  test.equal(replacing.restore(other.host, "db", nil, "50ms"), false)
  test.equal({ other.starts, other.stops }, { 0, 0 })
end)

test.it("what is down stays so where this process has stopped nothing", function()
  local one = named(server("h10", 0))
  one.running = false
  stopping.begin(one.host)
  test.equal(replacing.restore(one.host, "db"), false)
  test.equal(one.starts, 0)
end)

test.it("what is down is started", function()
  local one = server("h5", 0)
  one.running = false
  test.equal(stopping.wake(one.host, "c1", "1s"), true)
  test.equal(one.running, true)
end)
