--- What stays while releases come and go: what is done to databases and the like, and what takes it back.

local compose_config = require "compose.config"
local document = require "compose.document"
local app_module = require "deploy.app"
local staying = require "compose.staying"
local test = require "test"

local FILE = [[
services:
  web: { image: "reg/shop:${VERSION}" }
  db:
    image: "postgres:16.4"
    volumes: ["db:/db"]
    depends_on: { init: { condition: service_completed_successfully } }
  cache: { image: "redis:7" }
  init: { image: "tool:1" }
volumes: { db: }
]]

local function settings_of(source)
  local compose, refused = document.read(source or FILE, "compose.yml")
  return compose_config.complete({ service = "shop", hosts = { "10.0.0.5" },
    services = { web = { proxy = { app_port = 80 } } } }, "shop.yml", nil, compose, refused)
end

--- A server with these containers of the app's own project: what is told to compose, and what is removed.
local function server(containers)
  local told, docker = {}, { containers = containers }
  local function find(ref)
    for index, one in ipairs(containers) do
      if one.id == ref or one.name == ref then return one, index end
    end
    error({ kind = "docker.not_found", message = "no such container: " .. ref }, 0)
  end
  function docker.list()
    local out = {}
    for index, one in ipairs(containers) do
      out[index] = { id = one.id, name = one.name, state = one.state or "running",
        status = one.status or "Up 2 minutes", labels = { ["com.docker.compose.service"] = one.service,
          ["com.docker.compose.project"] = "shop", ["com.docker.compose.oneoff"] = "False" } }
    end
    return out
  end
  function docker.inspect(_, ref)
    local one = find(ref)
    return { id = one.id, name = one.name, health = one.health or "", running = one.state ~= "exited" }
  end
  function docker.remove(_, ref)
    local one, index = find(ref)
    table.remove(containers, index)
    told[#told + 1] = "remove " .. one.name
  end
  function docker.rename(_, ref, to)
    local one = find(ref)
    if one.name == to then error({ kind = "docker.invalid", message = "that is its name" }, 0) end
    told[#told + 1] = ("rename %s %s"):format(one.name, to)
    one.name = to
  end
  function docker.logs() return { text = "out of memory\n" } end
  function docker.inspect_network() return {} end
  function docker.inspect_volume() return {} end
  local host = { name = "h1", docker = docker, told = told }
  function host.exec(_, argv)
    if argv[1] == "sh" then
      local said = "home /root\ncompose docker 2\n"
      for _, folder in ipairs(host.folders or {}) do said = said .. ("folder %s\n"):format(folder) end
      return { code = 0, stdout = said, stderr = "" }
    end
    local words = table.concat(argv, " ")
    told[#told + 1] = words:match("compose/(shop[^/]*)/compose.json") .. ":" .. words:match("compose.json(.*)$")
    return { code = 0, stdout = "", stderr = "" }
  end
  function host.write(_, path, bytes) told[#told + 1] = ("write %s%s"):format(path:match("[^/]+$"),
    path:match("%.stays$") and " " .. bytes:gsub("\n", "") or "") end
  function host.remove(_, path) told[#told + 1] = "rm " .. path:match("[^/]+$") end
  return host
end

local function app_of(settings)
  local app = { config = settings, _beside = {}, _write_beside = function() end, _env = function() return {} end }
  staying.extend(app)
  return setmetatable(app, { __index = app_module._App })
end

local PINS = { pins = { db = "postgres@sha256:1", cache = "redis@sha256:2", init = "tool@sha256:3" } }

local function look_of(host, settings, stays, folders)
  return { staying = staying.look(host, settings),
    compose = { argv = { "docker", "compose" }, home = "/root", folders = folders or {}, stays = { shop = stays } } }
end

local THREE = function()
  return { { id = "d", name = "shop-db-1", service = "db" }, { id = "c", name = "shop-cache-1", service = "cache" },
    { id = "i", name = "shop-init-1", service = "init", state = "exited", status = "Exited (0) 3 minutes ago" } }
end

test.it("leaves alone what has not changed, what has run once included, and takes nothing back of it", function()
  local settings, host = settings_of(), server(THREE())
  local app = app_of(settings)
  local first = app:keep(host, "v1", look_of(host, settings, nil), PINS)
  test.equal(first.unchanged, false)
  local before = look_of(host, settings, first.note)
  local count = #host.told
  local kept = app:keep(host, "v2", before, PINS)
  test.equal(kept, { unchanged = true })
  app:unkeep(host, "v2", before, kept)
  test.equal(#host.told, count)
  host.docker.containers[3].status = "Exited (1) 3 minutes ago"
  test.equal(app:keep(host, "v2", look_of(host, settings, first.note), PINS).unchanged, false)
end)

test.it("takes back a file with a service more than the one before", function()
  local settings, host = settings_of(), server { { id = "d", name = "shop-db-1", service = "db" } }
  local app, before = app_of(settings), look_of(host, settings, "shop.stays-old")
  table.insert(host.docker.containers, { id = "c", name = "shop-cache-1", service = "cache" })
  app:unkeep(host, "v2", before, nil)
  test.equal(host.told, { "remove shop-cache-1", "shop.stays-old: up --detach --no-build",
    "write shop.stays shop.stays-old" })
end)

test.it("never removes what somebody had made by hand before", function()
  local settings, host = settings_of(), server { { id = "d", name = "shop-db-1", service = "db" } }
  local app, before = app_of(settings), look_of(host, settings, nil)
  host.docker.containers[1].id = "e"  -- Compose has made it anew
  table.insert(host.docker.containers, { id = "c", name = "shop-cache-1", service = "cache" })
  app:unkeep(host, "v1", before, nil)
  test.equal(host.told, { "remove shop-cache-1", "rm shop.stays" })
end)

test.it("takes back the files that it brought, and no others", function()
  local settings, host = settings_of(), server {}
  local app, before = app_of(settings), look_of(host, settings, nil, { "shop.stays-a", "shop-v1-0a" })
  host.folders = { "shop.stays-a", "shop.stays-b", "shop-v1-0a", "shop-v2-0b", "other.stays-c" }
  app:unkeep(host, "v1", before, nil)
  test.equal(host.told, { "rm shop.stays", "rm shop.stays-b" })
end)

test.it("does a repair that was cut off again", function()
  local settings = settings_of()
  local host = server { { id = "n", name = "0123456789ab_shop-db-1", service = "db", state = "created" },
    { id = "o", name = "shop-db-1", service = "db" }, { id = "x", name = "0123456789ab_shop-web-1", service = "web" } }
  local app, before = app_of(settings), look_of(host, settings, "shop.stays-old")
  app:keep(host, "v2", before, PINS)
  test.equal(host.told[1], "remove 0123456789ab_shop-db-1")
  test.equal(app:keep(host, "v2", before, PINS).unchanged, false)  -- resumed: told what was there before
  test.equal(#host.docker.containers, 2)
end)

test.it("does not go on where what stays fails its check", function()
  local settings, host = settings_of(), server(THREE())
  host.docker.containers[1].health = "unhealthy"
  local err = test.raises("app.unready", function()
    app_of(settings):keep(host, "v2", look_of(host, settings, "shop.stays-old"), PINS)
  end)
  test.contains(err.message, "shop-db-1")
  test.contains(err.logs, "out of memory")
end)

test.it("forgets the files of earlier releases, but for the one before", function()
  local settings, host = settings_of(), server(THREE())
  local app = app_of(settings)
  app:keep(host, "v2", look_of(host, settings, "shop.stays-b", { "shop.stays-a", "shop.stays-b", "shop-v1-0a" }), PINS)
  test.equal(host.told[#host.told], "rm shop.stays-a")
end)
