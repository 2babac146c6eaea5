--- The copy on the primary host: what is waited for before a change, what is sent again, whose word counts.

local state_module = require "deploy.journal.state"
local task = require "native.task"
local test = require "test"

--- A machine's journal: a list of rows that all are on the disk.
local function journal_with(count, run)
  local journal = { run = run or "r1", rows = {}, restored = nil, ended = false }
  function journal:keep_copy(copy) self.copy_kept = copy end
  function journal:add(number)
    for _ = 1, number or 1 do
      local at = #self.rows + 1
      self.rows[at] = { number = at, time = at, type = "task", body = "{}", hash = "h" .. at }
    end
  end
  function journal:copy(_, after)
    local out = {}
    for at = after + 1, #self.rows do out[#out + 1] = self.rows[at] end
    return out
  end
  function journal:restore(_, rows) self.restored = rows end
  function journal:record() return { state = self.ended and "done" or "running" } end
  journal:add(count)
  return journal
end

--- The agent there: keeps rows; `slow` ms before an answer; `fails`: how many requests are lost with it.
local function primary(given)
  local one = { stored = 0, requests = 0, slow = 0, fails = 0, kind = "agent.lost", in_flight = 0, most = 0 }
  for key, value in pairs(given or {}) do one[key] = value end
  local function begin()
    one.requests, one.in_flight = one.requests + 1, one.in_flight + 1
    one.most = math.max(one.most, one.in_flight)
    return task.now() + one.slow
  end
  local function finish(params, due)
    task.sleep(due - task.now())
    one.in_flight = one.in_flight - 1
    if one.fails > 0 then
      one.fails = one.fails - 1
      return { kind = one.kind, message = "gone" }
    end
    for _, row in ipairs(params.rows) do
      local gap = row.number > one.stored + 1 and row.number == params.rows[1].number
      if gap then return { kind = "journal.behind", message = "a gap" } end
      one.stored = math.max(one.stored, row.number)
    end
  end
  local keeper = {}
  function keeper.alive() return true end
  function keeper.call(_, _, params)
    local err = finish(params, begin())
    if err then error(err, 0) end
  end
  --- As an answer that is on its way: it comes to pass when somebody waits.
  function keeper.send(_, _, params)
    local due, asked, over, err = begin(), false, false, nil
    return { ready = function() return task.now() >= due end, wait = function()
      if not asked then
        asked = true
        err, over = finish(params, due), true
      end
      while not over do task.sleep(1) end
      if err then error(err, 0) end
    end }
  end
  one.lock = { host = { name = "h1" }, keeper = keeper, number = 1 }
  return one
end

local locks = { _make_fresh = function() end }

local function on(one, journal, mode)
  local state = state_module.new(journal, mode or "run")
  state:acquired(locks, one.lock)
  return state
end

test.it("without a lock on a server nothing is sent anywhere", function()
  local journal = journal_with(3)
  local state = state_module.new(journal, "run")
  state:acquired(locks, { host = { name = "local" } })
  state:send("h1")
  test.equal(state:tail({}), nil)
  test.equal(journal.copy_kept, state)
end)

test.it("a change of another host waits until its announcement is stored; one batch costs one request", function()
  local one, journal = primary { slow = 5 }, journal_with(4)
  local state = on(one, journal)
  state:send("h2")
  test.equal(one.stored, 4)
  journal:add(20)
  local hosts = {}
  for index = 1, 20 do hosts[index] = "h" .. (index + 1) end
  task.each(hosts, {}, function(host) state:send(host) end)
  test.equal(one.stored, 24)
  test.equal(one.requests, 2)
end)

test.it("a change of the primary host follows its announcement; no more than two of those are on their way", function()
  local one, journal = primary { slow = 60 }, journal_with(1)
  local state = on(one, journal)
  state:send("h1")
  journal:add()
  state:send("h1")
  test.equal(one.stored, 0)
  journal:add()
  state:send("h1")
  test.equal(one.stored >= 1, true)
  test.equal(one.most, 2)
  local tail = state:tail(one.lock)
  test.equal(one.stored, 3)
  test.equal(tail, nil)
  journal:add()
  test.equal(#state:tail(one.lock).rows, 1)
  test.equal(state:tail({}), nil)
end)

test.it("what has been answered makes room", function()
  local one, journal = primary { slow = 5 }, journal_with(1)
  local state = on(one, journal)
  for _ = 1, 5 do
    state:send("h1")
    task.sleep(10)
    journal:add()
  end
  test.equal(one.most, 1)
  test.equal(one.stored >= 4, true)
end)

test.it("a connection that is new is used once what was sent over the old one is stored", function()
  local one, journal = primary { fails = 1, slow = 20 }, journal_with(2)
  local state = on(one, journal)
  state:send("h1")
  state:connected({ name = "h2" })
  test.equal(one.stored, 0)
  one.fails = 0
  state:connected(one.lock.host)
  test.equal(one.stored, 2)
  state:connected(one.lock.host)
  test.equal(one.requests, 2)
end)

test.it("what was lost with an agent is sent again", function()
  local one, journal = primary { fails = 2 }, journal_with(2)
  local state = on(one, journal)
  state:send("h2")
  test.equal(one.stored, 2)
  journal:add()
  one.fails = 1
  state:send("h1")
  journal:add()
  state:send("h1")
  test.equal(state:tail(one.lock), nil)
  test.equal(one.stored, 4)
end)

test.it("where it cannot be stored nothing is changed any more, and it is tried again for the undo", function()
  local one, journal = primary { fails = 1, kind = "journal.io" }, journal_with(2)
  local state = on(one, journal)
  local err = test.raises("journal.primary", function() state:send("h2") end)
  test.equal(err.kind, "journal.primary")
  test.equal(err.cause.kind, "journal.io")
  test.equal(err.host, "h1")
  state:send("h2")
  test.equal(one.stored, 2)

  one.fails = 1
  journal:add()
  state:send("h1")  -- asked for at once; that it was in vain is known once it is answered
  task.sleep(1)
  journal:add()
  test.raises("journal.primary", function() state:send("h1") end)
end)

test.it("another run that waits on the primary host is refused, with what to do", function()
  local one = primary()
  one.lock.unfinished = { run = "r9", rows = 2, hash = "x", command = "deploy", recipe = "recipes/prod.lua",
    state = "running", user = "ada", host = "laptop" }
  local err = test.raises("journal.unfinished", function() on(one, journal_with(0)) end)
  test.equal(err.kind, "journal.unfinished")
  test.equal(err.run, "r9")
  test.equal(err.hint:find("recipes/prod.lua --resume", 1, true) ~= nil, true)
end)

test.it("a run that is gone on with is refused as well, unless the primary host knows it", function()
  local one, waits = primary(), { run = "r9", rows = 2, hash = "x", command = "deploy", recipe = "recipes/prod.lua",
    state = "running", user = "ada", host = "laptop" }
  one.lock.unfinished = waits
  for _, mode in ipairs { "resume", "abort" } do
    -- This machine's own, which ended before it was told there: to go on would hide the one that waits.
    local err = test.raises("journal.unfinished", function() on(one, journal_with(2), mode) end)
    test.equal(err.run, "r9")
    -- One that is known there: its lock is taken before it is ours, and it is looked at what it is after that.
    local journal = journal_with(2)
    journal.run = nil
    local state = on(one, journal, mode)
    journal.run = "r1"
    state:acquired(locks, { host = { name = "h2" }, unfinished = waits })
  end
end)

test.it("a run whose end only this machine knows is told there", function()
  local one, journal = primary { stored = 2 }, journal_with(5, "r2")
  one.lock.unfinished = { run = "r1", rows = 2, hash = "h2", command = "deploy", recipe = "x", state = "running",
    user = "", host = "" }
  test.raises("journal.unfinished", function() on(one, journal) end)
  journal.ended = true
  on(one, journal)
  test.equal(one.stored, 5)
end)
