--- deploy.migrate: what is refused when a recipe is read, and the order of recipes/sqlite_app.lua.

local back = require "deploy.migrate.back"
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
  refused("kamal_proxy", { traffic = "paused" }, { 'traffic is pause, maintenance, online, held, got "paused"' })
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

test.it("knows which migrations came after a release", function()
  local done = { { tag = "v4-0a", done_at = "2026-11-27T12:00:00Z" },
    { tag = "v3-0b", done_at = "2026-11-26T12:00:00Z" }, { tag = "v2-0c", done_at = "2026-11-25T12:00:00Z" } }
  local function since(version, created)
    local out = {}
    for index, one in ipairs(back.since(done, version, created)) do out[index] = one.tag end
    return out
  end
  test.equal(since "v4", {})
  test.equal(since "v2", { "v4-0a", "v3-0b" })
  -- v3.1 had nothing to migrate: what was done before its container was made is its own.
  test.equal(since("v3.1", 1795695000), { "v4-0a" })
  test.equal(since "v1", { "v4-0a", "v3-0b", "v2-0c" })
end)

test.it("says what a rollback with the database loses", function()
  test.equal(back.compared({ note = 12, tag = 3, new = 1 }, { note = 10, tag = 3 }),
    "new: 1 rows, no such table then; note: 12 rows, 10 then")
  test.equal(back.compared({ note = 1 }, { note = 1 }), "as many rows as then in each table")
end)

test.it("asks nobody for a word where nothing is to be brought back", function()
  local notes = test.rehearse { recipe = "recipes/sqlite_app.lua" }
  notes:run("deploy", { version = "v1" })
  notes:run("deploy", { version = "v2" })
  local result = notes:run("rollback", { with_database = true })
  test.equal(result.state, "done")
  test.equal(notes:serving("10.0.0.5")["notes-web"], "notes-web-v1")
end)

test.it("looks at the database that a rollback is to bring back also where nothing serves", function()
  local asked, role = {}, { name = "web", proxied = true }
  local migration = { host = { name = "h1" }, settings = { role = role }, _database = function(_, reader)
    asked[#asked + 1] = reader
    return { place = { exists = function() return false end } }
  end }
  back.extend(migration)
  local look = { routes = {}, containers = { a = { id = "a", name = "shop-web-v1", role = "web", version = "v1",
    created = 1, rank = 1, state = "exited", image = "sha256:1" } } }
  test.equal(migration:_look_since(look, "v1").reader, "sha256:1")
  test.equal(asked, { "sha256:1" })
  look.containers = {}
  test.raises("app.not_running", function() migration:_look_since(look, "v1") end)
end)
