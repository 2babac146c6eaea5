--- What a container without a health check of ours has to do to be ready.

local health = require "deploy.app.health"
local task = require "native.task"
local test = require "test"

local function server(own_check)
  local docker = {}
  function docker.inspect()
    return { running = true, state = "running", restart_count = 0, health = own_check(), networks = {}, labels = {} }
  end
  function docker.wait() while true do task.sleep(1000) end end
  function docker.logs() return { text = "still warming up\n" } end
  return { name = "h1", docker = docker }
end

local function wait(own_check)
  return health.wait_ready(server(own_check), { id = "c1", name = "shop-jobs-v1" }, { settle = "0s" }, "kamal", "new")
end

test.it("an image's own check is waited for, and ends the wait when it fails", function()
  local looks = 0
  wait(function()
    looks = looks + 1
    return looks < 3 and "starting" or "healthy"
  end)
  local asked = 0
  local err = test.raises("app.unready", function()
    wait(function()
      asked = asked + 1
      return asked < 2 and "starting" or "unhealthy"
    end)
  end)
  test.contains(err.cause.message, "fails")
end)

test.it("an image's own check that nobody ever makes is not waited for without end", function()
  health._OWN_CHECK_WITHIN = 300
  local err = test.raises("app.unready", function() wait(function() return "starting" end) end)
  test.contains(err.cause.message, "says nothing for 300 ms")
  test.contains(err.logs, "warming up")
end)
