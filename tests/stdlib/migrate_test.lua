--- deploy.migrate: what is refused when a recipe is read, and the order of recipes/sqlite_app.lua.

local deploy = require "deploy"
local place = require "deploy.migrate.place"
local test = require "test"

local APP = { service = "notes", image = "notes", hosts = { "10.0.0.5" }, volumes = { "notes-data:/data" } }

local function app(kind)
  local settings = { proxy = { kind = kind } }
  for key, value in pairs(APP) do settings[key] = value end
  return deploy.app(settings)
end

local function refused(kind, options, words)
  options.command = options.command or { "/app", "migrate" }
  options.database = options.database or "/data/app.sqlite3"
  local err = test.raises(words.kind or "usage", function() deploy.migrate(app(kind), options) end)
  test.contains(err.message, words[1])
end

test.it("refuses what cannot be, when the recipe is read", function()
  refused("caddy", {}, { "caddy cannot pause", kind = "proxy.unsupported" })
  refused("kamal_proxy", { traffic = "paused" }, { 'traffic is pause, maintenance, online, got "paused"' })
  refused("kamal_proxy", { snapshot = "none" }, { "without a snapshot nothing can be brought back" })
  refused("kamal_proxy", { traffic = "online", snapshot = "held" }, { "online, nothing is held" })
  refused("kamal_proxy", { database = "/storage/app.sqlite3" }, { "no volume of the role web holds /storage" })
  refused("kamal_proxy", { role = "worker" }, { "no role is called worker" })
  local migration = deploy.migrate(app("caddy"), { database = "/data/a.sqlite3", command = { "migrate" },
    traffic = "maintenance" })
  test.equal(migration.host.name, "10.0.0.5")
end)

test.it("finds the volume of a path, the deepest one", function()
  local volumes = { "all:/data", "notes:/data/notes/", "/srv/x:/x:ro" }
  test.equal({ place.volume_of(volumes, "/data/app.sqlite3") }, { "all", "app.sqlite3" })
  test.equal({ place.volume_of(volumes, "/data/notes/db/app.sqlite3") }, { "notes", "db/app.sqlite3" })
  test.equal({ place.volume_of(volumes, "/x/app.sqlite3") }, { "/srv/x", "app.sqlite3" })
  test.equal(place.volume_of(volumes, "/database/app.sqlite3"), nil)
end)

test.it("migrates a first database before anything starts", function()
  local notes = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  local result = notes:run("deploy", { version = "v1" })
  test.equal(result.state, "done")
  test.equal(result:order(), { "look at the server", "see to the proxy", "pull the image",
    "look for pending migrations", "hold traffic", "migrate the database", "start the new version",
    "wait until it is ready", "switch traffic", "release traffic", "retire the old version", "let go of the oldest" })
  local commands = table.concat(result:commands("10.0.0.5", "migrate the database"), "\n")
  test.contains(commands, "docker run --detach --name notes.migrate-v1-")
  test.contains(commands, "--volume notes-data:/data")
end)

test.it("holds requests, takes a snapshot, and lets go of both, in this order", function()
  local notes = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  notes:run("deploy", { version = "v1" })
  local result = notes:run("deploy", { version = "v2" })
  test.equal(result.state, "done")
  local held = table.concat(result:commands("10.0.0.5", "hold traffic"), "\n")
  test.contains(held, "kamal-proxy pause notes-web")
  test.contains(held, "docker pause notes-web-v1")
  test.contains(table.concat(result:commands("10.0.0.5", "take a snapshot of the database"), "\n"), ".before-v2-")
  test.contains(table.concat(result:commands("10.0.0.5", "release traffic"), "\n"), "kamal-proxy resume notes-web")
  test.equal(notes:serving("10.0.0.5")["notes-web"], "notes-web-v2")
end)

test.it("goes back without migrating", function()
  local notes = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  notes:run("deploy", { version = "v1" })
  notes:run("deploy", { version = "v2" })
  local result = notes:run("rollback")
  test.equal(result.state, "done")
  for _, command in ipairs(result:commands()) do test.equal(command:find("migrate", 1, true), nil) end
  test.equal(notes:serving("10.0.0.5")["notes-web"], "notes-web-v1")
end)

test.it("gives all back when the new version does not start", function()
  local notes = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  notes:run("deploy", { version = "v1" })
  local result = notes:run("deploy", { version = "v2" }, { fail = { step = "wait until it is ready" } })
  test.equal(result.state, "failed_undone")
  test.equal(notes:serving("10.0.0.5")["notes-web"], "notes-web-v1")
  test.equal(notes:containers("10.0.0.5")["notes-web-v2"], nil)
end)
