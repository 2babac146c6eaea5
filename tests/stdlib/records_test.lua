--- What a server remembers of releases, and what a rollback says that there is.

local way_back = require "deploy.app.back"
local candidates = require "deploy.app.candidates"
local test = require "test"

test.it("goes back to a release that somebody has removed, by its digest", function()
  local ref = "registry.example.com/acme/board@sha256:" .. ("1"):rep(64)
  local host = { releases = { { version = "v2", at = 2, images = { web = "" } },
    { version = "v1", at = 1, images = { web = ref } } } }
  local app = test.rehearse { recipe = "recipes/flask_gunicorn.lua", hosts = { ["10.0.0.5"] = host } }
  app:run("deploy", { version = "v2" })
  local back = app:run("rollback")
  test.equal(back.state, "done")
  test.contains(table.concat(back:commands("10.0.0.5", "fetch what is gone"), "\n"), "docker pull " .. ref)
end)

local function release(version, created, env, given)
  local image = { id = "i" .. version, bytes = 12340000, env = { PATH = "/", VERSION = version } }
  local all = { VERSION = version, PATH = "/" }
  for name, value in pairs(env) do all[name] = value end
  given = given or {}
  return { version = version, created = created, rank = 1, serves = given.serves, image = image,
    facts = { image = given.image or image.id, state = given.serves and "running" or "exited" },
    found = { env = all, cmd = given.cmd or {}, mounts = {} } }
end

test.it("says how old a release is, how large, and what differs, by name alone", function()
  local list = { release("v3", 940, { COLOUR = "red", KEPT = "x" }, { serves = true }),
    release("v2", 0, { COLOUR = "blue", GONE = "hidden", KEPT = "x" }, { cmd = { "serve" } }),
    release("v1", -172800, { COLOUR = "red", KEPT = "x" }, { image = "iv3" }),
    { version = "v0", created = -172800, rank = 9, ref = "shop@sha256:0123456789abcdef0" } }
  local said = candidates.text("web", list, 1000)
  local lines = {}
  for line in said:gmatch("[^\n]+") do lines[#lines + 1] = line end
  test.contains(lines[1], "v3")
  test.contains(lines[1], "serves")
  test.contains(lines[1], "12.3 MB")
  test.contains(lines[2], "kept")
  test.contains(lines[2], "image, settings: COLOUR GONE, command")
  test.ok(not said:find("hidden", 1, true) and not said:find("blue", 1, true))
  test.contains(lines[3], "2 d")
  test.contains(lines[3], "the same image")
  test.contains(lines[4], "gone")
  test.contains(lines[4], "comes from the registry: sha256:0123456789ab")
end)

test.it("goes back with each recipe that ships, and says when traffic was there", function()
  for recipe, host in pairs { flask_gunicorn = "10.0.0.5", sqlite_app = "10.0.0.5" } do
    local app = test.rehearse { recipe = ("recipes/%s.lua"):format(recipe) }
    app:run("deploy", { version = "v1" })
    app:run("deploy", { version = "v2" })
    local served = app:serving(host)
    local back = app:run("rollback")
    test.equal(back.state, "done")
    test.contains(back.logs[#back.logs], "v1 serves again: traffic after ")
    for name, now in pairs(app:serving(host)) do test.equal({ served[name], now }, { name .. "-v2", name .. "-v1" }) end
  end
end)

test.it("leaves what was fetched for a role where another one's container uses it", function()
  local app, asked = { image = function(_, version) return "shop:" .. version end }, {}
  way_back.extend(app)
  local docker = { remove_image = function(_, ref)
    asked[#asked + 1] = ref
    if ref:find("@", 1, true) then error({ kind = "docker.conflict", message = "a container is using it" }, 0) end
    error({ kind = "docker.not_found", message = "no such image" }, 0)
  end }
  local gone = { missing = { "web" }, fits = false, ref = "shop@sha256:1" }
  app:unfetch({ name = "h1", docker = docker }, "v1", {}, gone)
  test.equal(asked, { "shop:v1", "shop@sha256:1" })
end)
