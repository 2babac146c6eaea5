--- Check-lists: what is refused when the recipe is read, and the looks that are arithmetic.

local checks = require "deploy.checks"
local kinds = require "deploy.checks.kinds"
local run_module = require "deploy.run"
local task = require "native.task"
local test = require "test"

local APP = { config = { service = "shop" }, hosts = {} }

local function refused(entry)
  return test.raises("usage", function() checks.new("before", APP, { entry }) end).message
end

test.it("refuses what means nothing when the recipe is read", function()
  test.contains(refused { check = "disk", free = "2G" }, '"2G" is no size')
  test.contains(refused { check = "disk", free = "1.2.3GB" }, "is no size")
  test.contains(refused { check = "window", from = "8:00" }, '"8:00" is no time of a day')
  test.contains(refused { check = "window", to = "25:00" }, "is no time of a day")
  test.contains(refused { check = "window", days = { "Monday" } }, '"Monday" is none of Mon')
  checks.new("before", APP, { { check = "window", days = { "Mon" }, from = "08:00", to = "24:00" } })
end)

test.it("knows a window that goes on after midnight", function()
  local night = { days = { "Fri" }, from = "22:00", to = "04:00" }
  test.equal(kinds.in_window(night, "Fri", "22:00"), true)
  test.equal(kinds.in_window(night, "Sat", "03:59"), true)
  test.equal(kinds.in_window(night, "Sat", "04:00"), false)
  test.equal(kinds.in_window(night, "Fri", "03:00"), false)
  test.equal(kinds.in_window(night, "Sat", "23:00"), false)
  test.equal(kinds.in_window({ from = "22:00", to = "04:00" }, "Mon", "01:00"), true)
  test.equal(kinds.in_window({ days = { "Mon" }, from = "08:00", to = "16:00" }, "Mon", "15:59"), true)
  test.equal(kinds.in_window({ days = { "Mon" }, from = "08:00", to = "16:00" }, "Tue", "09:00"), false)
  test.equal(kinds.in_window({}, "Sun", "00:00"), true)
end)

test.it("counts log lines from the run's begin, in a resumed run too, and not from the check's", function()
  local since
  local list = checks.new("after", APP, { { name = "since", run = function(context)
    since = context.since
    return true
  end } })
  local function run_of(record)
    return run_module.new { params = {}, mode = record and "resume" or "run", record = record,
      localhost = { name = "local" } }
  end
  local before = os.time()
  local run = run_of()
  list:run(run)
  test.ok(since >= before and since <= os.time())
  list:run(run_of { id = "1", started = 1795756651965, steps = {}, once = {} })
  test.equal(since, 1795756651)
end)

--- An app with two servers; `together`: no look ends before the other one has begun.
local function two_servers(together)
  local app, under_way = { hosts = { { name = "h1" }, { name = "h2" } } }, 0
  function app.look()
    under_way = under_way + 1
    while together and under_way < 2 do task.sleep(1) end
    return { routes = { web = { container = "v2" } }, containers = { { id = "v2", version = "v2", role = "web" } } }
  end
  app.look_back = app.look
  function app.roles() return { { name = "web", proxied = true } } end
  function app.rollback_target(_, seen) return seen.h1 and seen.h2 and "v1" end
  return app
end

test.it("looks at all servers at once", function()
  local function ask(kind)
    return task.within(5000, "the check", function()
      return kinds.all[kind].run({}, { app = two_servers(true), version = "v2" })
    end)
  end
  test.equal(ask "serving", true)
  test.equal(ask "release", true)
end)

test.it("does not take a role that nobody has for one that serves, or that says nothing bad", function()
  for _, kind in ipairs { "serving", "logs", "jobs", "count" } do
    local err = test.raises("usage", function()
      kinds.all[kind].run({ role = "wbe", command = { "true" } }, { app = two_servers(), version = "v2", since = 0 })
    end)
    test.contains(err.message, "wbe")
  end
end)
