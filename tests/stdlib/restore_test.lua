--- deploy.restore: what is refused when a recipe is read, its order, and what becomes of a failure at each step.

local deploy = require "deploy"
local health = require "deploy.app.health"
local task = require "native.task"
local test = require "test"

local HOST = "10.0.0.5"
local STEPS = { "look at the server", "choose what comes back", "hold traffic", "stop the app",
  "keep what the database holds now", "restore the database", "migrate what came back", "boot the app",
  "check what came back", "release traffic", "tidy up" }

local function notes()
  local site = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  site:run("deploy", { version = "v1" })
  return site
end

test.it("refuses what cannot be, when the recipe is read", function()
  local app = deploy.app { service = "notes", image = "notes", hosts = { HOST }, volumes = { "notes-data:/data" },
    proxy = { kind = "caddy" } }
  local migration = deploy.migrate(app, { database = "/data/a.sqlite3", command = { "migrate" },
    traffic = "maintenance" })
  test.contains(test.raises("usage", function() deploy.restore(app) end).message, "or an app with `database`")
  test.contains(test.raises("usage", function() deploy.restore("shop") end).message, "what deploy.migrate gave")
  test.raises("usage", function() deploy.restore(migration, { database = "/data/b.sqlite3" }) end)
  local nowhere = test.raises("usage", function() deploy.restore(app, { database = "/elsewhere/a.sqlite3" }) end)
  test.contains(nowhere.message, "no volume of the role web holds /elsewhere/a.sqlite3")
  local err = test.raises("usage", function() deploy.restore(migration, { traffic = "pasue" }) end)
  test.contains(err.message, 'traffic is maintenance or pause, got "pasue"')
  test.contains(err.hint, "pause")
  test.raises("proxy.unsupported", function() deploy.restore(migration, { traffic = "pause" }) end)
  test.equal(deploy.restore(migration).host.name, HOST)
end)

test.it("stops, restores, boots, checks, in this order, and nothing of it touches another container", function()
  local site = notes()
  local result = site:run("restore", { which = "rollback" })
  test.equal(result.state, "done")
  test.equal(result:order(), STEPS)
  test.contains(table.concat(result:commands(HOST, "hold traffic"), "\n"), "kamal-proxy stop notes-web")
  test.equal(result:commands(HOST, "stop the app"), { "docker stop --time 10 notes-web-v1" })
  test.contains(table.concat(result:commands(HOST, "keep what the database holds now"), "\n"), ".before-restore")
  test.contains(table.concat(result:commands(HOST, "restore the database"), "\n"), ".before-rollback")
  test.contains(table.concat(result:commands(HOST, "boot the app"), "\n"), "docker start notes-web-v1")
  test.contains(table.concat(result:commands(HOST, "release traffic"), "\n"), "kamal-proxy resume notes-web")
  test.equal(site:containers(HOST)["notes-web-v1"], "running")
end)

test.it("restores the database of an app that migrates nothing", function()
  local site = test.rehearse { recipe = "recipes/flask_gunicorn.lua" }
  site:run("deploy", { version = "v1" })
  local result = site:run("restore", { which = "restore" })
  test.equal(result.state, "done")
  local steps = {}
  for _, name in ipairs(STEPS) do
    if name ~= "migrate what came back" then steps[#steps + 1] = name end
  end
  test.equal(result:order(), steps)
  test.equal(result:commands("10.0.0.5", "boot the app")[1], "docker start board-web-v1")
end)

test.it("keeps what is there under another name where the last restore is taken back", function()
  local result = notes():run("restore", { which = "restore" })
  test.contains(table.concat(result:commands(HOST, "keep what the database holds now"), "\n"), ".before-restore-back")
end)

test.it("ends with the old content, the same containers and traffic, whichever step fails", function()
  for index = 3, #STEPS - 2 do
    local site = notes()
    local result = site:run("restore", { which = "rollback" }, { fail = { step = STEPS[index], after = true } })
    test.equal({ STEPS[index], result.state }, { STEPS[index], "failed_undone" })
    test.equal(site:containers(HOST)["notes-web-v1"], "running")
    if index > 5 then
      test.contains(table.concat(result:commands(HOST, "restore the database", true), "\n"), ".before-restore")
    end
  end
end)

--- A server whose one container ends `slow` ms after it was told to.
local function ending(slow)
  local one = { running = true, starts = 0 }
  local function settle()
    if one.ends and task.now() >= one.ends then one.running, one.ends = false, nil end
    return one.running
  end
  function one.ask_to_end() one.ends = one.ends or task.now() + slow end
  local docker = { inspect = function() return { id = "c1", running = settle() } end }
  function docker.stop()
    if settle() then one.ask_to_end() end
    while settle() do task.sleep(5) end
  end
  function docker.wait()
    while settle() do task.sleep(5) end
  end
  function docker.start()
    if not settle() then one.running, one.starts = true, one.starts + 1 end
  end
  one.docker = docker
  return one
end

test.it("what a stop that was called off still ends runs again", function()
  local wait_ready = health.wait_ready
  health.wait_ready = function() return { ms = 0 } end
  local list = { { id = "c1", name = "notes-web-v1", role = "web" } }
  for index, how in ipairs { "interrupted", "killed" } do
    local app = deploy.app { service = "notes", image = "notes", hosts = { "server" .. index },
      volumes = { "notes-data:/data" }, stop_timeout = "1s" }
    local one = deploy.restore(deploy.migrate(app, { database = "/data/a.sqlite3", command = { "migrate" } }))
    local server = ending(80)
    one.host = { name = "server" .. index, docker = server.docker }
    if how == "interrupted" then
      local stopping = task.spawn(function() one:_stop(list) end, { name = "stop", observed = true })
      task.sleep(10)
      stopping:cancel("interrupted")
      pcall(task.join, stopping)
    else
      server.ask_to_end()
    end
    one:_unstop({ steps = {} }, { routes = {} }, { boot = list, ran = { "c1" } })
    task.sleep(100)
    test.equal({ how, server.docker.inspect().running, server.starts }, { how, true, 1 })
  end
  health.wait_ready = wait_ready
end)

test.it("a one-off container that Compose makes only after it was called off goes too", function()
  local app = deploy.app { service = "notes", image = "notes", hosts = { "server3" }, volumes = { "notes-data:/data" } }
  local one = deploy.restore(deploy.migrate(app, { database = "/data/a.sqlite3", command = { "migrate" } }))
  local there = {}
  one.host = { name = "server3", docker = { remove = function(_, name)
    if not there[name] then error({ kind = "docker.not_found", message = "none" }, 0) end
    there[name] = nil
  end } }
  one.migration.host = one.host
  local function come() there["notes.migrate-v1-0a"] = true end
  local ended = false
  function one.app.let_end()
    come()
    ended = true
  end
  one:_unmigrate({ steps = { { tasks = {} } } }, { containers = {}, routes = {} }, { version = "v1", tag = "v1-0a" })
  if not ended then come() end
  test.equal(there, {})
end)
