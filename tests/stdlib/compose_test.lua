--- What becomes of a Compose file: which services move, what is made of them, and the recipe's steps over facts.

local compose_config = require "compose.config"
local document = require "compose.document"
local files = require "native.files"
local interpolate = require "compose.interpolate"
local json = require "native.json"
local moving = require "compose.moving"
local pick = require "deploy.app.pick"
local process = require "native.process"
local render = require "compose.render"
local test = require "test"
local tool = require "compose.tool"

local function complete(source, settings)
  settings.service, settings.hosts = settings.service or "shop", settings.hosts or { "10.0.0.5" }
  settings.services = settings.services or { web = { proxy = { app_port = 3000 } } }
  local compose, refused = document.read(source, "compose.yml")
  return compose_config.complete(settings, "shop.yml", nil, compose, refused)
end

local SHOP = [[
services:
  web:
    image: reg/shop:${VERSION}
    restart: always
    depends_on: { db: { condition: service_healthy }, init: { condition: service_completed_successfully } }
    environment: [MODE=fast, "URL=postgres://u:${PASSWORD}@db"]
  init: { image: "reg/shop:${VERSION}", command: [setup] }
  writer: { image: "reg/shop:$VERSION", volumes: ["data:/data", "/etc/x:/x:ro"] }
  reader: { image: "reg/shop:${VERSION}", volumes: ["data:/data:ro"], stop_grace_period: 30s }
  db: { image: postgres:16.4, volumes: ["db:/db"], container_name: shop-db, ports: ["127.0.0.1:5432:5432"] }
  debug: { image: "reg/shop:${VERSION}", profiles: [debug] }
volumes: { data: , db: { name: the-db }, }
networks: { front: { external: true }, default: { internal: true } }
]]

local function shop() return complete(SHOP, { env = { secret = { "PASSWORD" } } }) end

test.it("knows what is filled from the database, where that is named", function()
  local source = "services:\n  web: { image: 'reg/shop:${VERSION}', volumes: ['data:/data'] }\n"
    .. "  search: { image: 'reg/search:1' }\nvolumes: { data: }\n"
  local function given(migrate, more)
    local settings = { mode = "window", migrate = migrate,
      services = { web = { proxy = { app_port = 3000 } }, search = { reindex = { "fill" } } } }
    for key, value in pairs(more or {}) do settings[key] = value end
    return complete(source, settings)
  end
  local migrate = { service = "web", command = { "migrate" }, database = "/data/a.sqlite3" }
  local settings = given(migrate, { backup = { folder = "/backups" } })
  test.equal(settings.filled, { { name = "search", service = true, reindex = { "fill" }, reindex_timeout = "30m" } })
  test.equal(settings.backup.folder, "/backups")
  local plain = { service = "web", command = { "migrate" } }
  test.equal(#given(plain).filled, 1)
  local err = test.raises("config.invalid", function() given(plain, { backup = { folder = "/b" } }) end)
  test.contains(err.message, "`backup`: of which database?")
end)

test.it("fills variables in as Compose does", function()
  local values = { A = "a", EMPTY = "" }
  local function fill(text) return (interpolate.fill(text, values)) end
  test.equal(fill "x$A-${A}y", "xa-ay")
  test.equal(fill "$$A ${B:-b} ${B-c} ${EMPTY:-d} ${EMPTY-e}.", "$A b c d .")
  test.equal(fill "${A:+set} ${B:+set}.", "set .")
  test.equal(fill "${B:-${A}}", "a")
  test.equal({ interpolate.fill("${B:?needed}", values) }, { nil, "B" })
  test.equal(interpolate.fill("${A", values), nil)
  test.equal(interpolate.fill("${}", values), nil)
  local found = {}
  test.ok(interpolate.collect("$A ${B:-$C} ${D?x} $$E ${F+g}", found))
  test.equal(found, { A = true, C = true, D = true })
end)

test.it("tells what moves, what stays, what stops first and what runs once", function()
  local settings, kinds = shop(), {}
  for _, role in ipairs(settings.roles) do
    kinds[role.name] = (role.proxied and "proxied " or "") .. (role.one_shot and "once " or "")
      .. (role.stops_first and "first " or "") .. role.stop_timeout
  end
  test.equal(kinds, { web = "proxied 10s", init = "once 10s", writer = "first 10s", reader = "30s" })
  test.equal(settings.roles[1].name, "web")
  test.equal(settings.stays, { "db" })
  test.equal(settings.roles[1].health.path, "/readyz")
end)

test.it("makes one file of what moves: pinned, without what two releases could not share", function()
  local settings = shop()
  local pins = { web = "reg/shop@sha256:1", init = "reg/shop@sha256:1", writer = "reg/shop@sha256:1",
    reader = "reg/shop@sha256:1", db = "postgres@sha256:2" }
  local made = render.identified(settings, render.release(settings, "v1", pins), "v1", "d", "shop-v1-d")
  local web = made.services.web
  test.equal(web.image, "reg/shop@sha256:1")
  test.equal(web.container_name, "shop-web-v1")
  test.equal(web.restart, "unless-stopped")
  test.equal(web.depends_on, { init = { condition = "service_completed_successfully" } })
  test.equal(web.labels["deployrun.version"], "v1")
  test.equal(web.labels["deployrun.project"], "shop-v1-d")
  test.equal(made.services.db, nil)
  test.equal(made.services.debug, nil)
  test.equal(made.volumes, { data = { external = true, name = "shop_data" },
    db = { external = true, name = "the-db" } })
  test.equal(made.networks, { default = { external = true, name = "shop_default" },
    front = { external = true, name = "front" } })
  local stays = render.staying(settings, pins)
  test.equal(stays.services.db.container_name, "shop-db")
  test.equal(stays.services.db.labels, { ["deployrun.stays"] = "shop" })
  test.equal(stays.services.web, nil)
end)

test.it("keeps what YAML says: nulls, lists, octal modes, long numbers, words that are no booleans", function()
  local made = complete([[
services:
  web:
    image: reg/shop:${VERSION}
    environment: { A: , B: yes, C: 1.10, D: 12345678901234567890, E: true, F: "5" }
    command: []
    configs: [{ source: c, mode: 0440 }]
configs: { c: { external: true } }
]], {})
  local web = json.decode(json.encode(render.release(made, "v1", { web = "x" })), { null = true }).services.web
  test.equal(web.environment, { A = json.null, B = "yes", C = "1.10", D = "12345678901234567890", E = true, F = "5" })
  test.equal(web.configs[1].mode, 288)
  test.contains(json.encode(render.release(made, "v1", { web = "x" })), '"command":[]')
end)

test.it("names a project after version and contents", function()
  local settings = shop()
  test.equal(render.project(settings, "Feature.X", "0123456789abcdef"), "shop-feature-x-01234567")
  local one = render.digest(settings, render.release(settings, "v1", { web = "a" }), "v1", {})
  test.ok(one ~= render.digest(settings, render.release(settings, "v1", { web = "b" }), "v1", {}))
  test.ok(one ~= render.digest(settings, render.release(settings, "v1", { web = "a" }), "v1", { ["web.env"] = "A=1" }))
end)

test.it("reads what a server has", function()
  test.equal(tool.parse "home /root\ncompose docker 2.26.1\nfolder shop-v1-0a\nstays shop shop.stays-1\n",
    { home = "/root", argv = { "docker", "compose" }, version = "2.26.1", folders = { "shop-v1-0a" },
      stays = { shop = "shop.stays-1" } })
  test.equal(tool.parse("home /root\ncompose docker-compose 1.29.2\n").argv, { "docker-compose" })
  test.equal(tool.parse("home /root\n").argv, nil)
end)

test.it("takes a folder for a project only once its file is whole", function()
  local home = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local above = home .. "/.deployrun/compose/"
  files.write(above .. "shop-v1-0a/compose.json", "{}", { parents = true })
  files.write(above .. "shop-v2-0b/web.env", "A=1", { parents = true })
  files.write(above .. "shop.stays", "shop.stays-1\n")
  local said = process.run({ "sh", "-c", tool._LOOK, tool.FOLDER }, { env = { HOME = home } }).stdout
  local found = tool.parse(said)
  test.equal({ found.home, found.folders, found.stays }, { home, { "shop-v1-0a" }, { shop = "shop.stays-1" } })
  files.remove(home, { recursive = true })
end)

test.it("ends what the file does not have any more, with the version that had it", function()
  local roles = { { name = "web", stops_first = false }, { name = "writer", stops_first = true } }
  local app = { config = { roles = roles } }
  moving.extend(app)
  local function facts(role, version, more)
    local out = { id = role .. version, name = ("shop-%s-%s"):format(role, version), role = role, state = "running",
      version = version, project = "shop-v1-0a" }
    for key, value in pairs(more or {}) do out[key] = value end
    return out
  end
  local before = { containers = {} }
  for _, one in ipairs { facts("web", "v1"), facts("writer", "v1"), facts("worker", "v1"),
    facts("mailer", "v0", { state = "exited" }), facts("cron", "v1", { project = false }) } do
    before.containers[one.name] = one
  end
  local function names(list)
    local out = {}
    for index, one in ipairs(list) do out[index] = one.facts.name .. " " .. (one.role.stop_timeout or "-") end
    return out
  end
  local started = { roles = { web = { id = "webv2" } } }
  test.equal(names(app:_replaced(nil, before, started)), { "shop-web-v1 -", "shop-worker-v1 10s" })
  test.equal(names(app:_writers(before)), { "shop-writer-v1 -" })
  local outlived = pick.outlived(before.containers, roles)
  test.equal({ #outlived, outlived[1].name }, { 1, "shop-mailer-v0" })
  app.window = true
  test.equal(names(app:_writers(before)), { "shop-web-v1 -", "shop-writer-v1 -", "shop-worker-v1 10s" })
end)

-- The shipped recipe, over facts.

local HOST = "203.0.113.10"
local SECRETS = { REGISTRY_PASSWORD = "a-registry-password", DATABASE_PASSWORD = "a-database-password" }
local STEPS = { "look at the servers", "pin the images", "see to the proxy", "pull the images", "send the Compose file",
  "see to what stays", "migrate", "start the new version", "wait until it is ready", "switch traffic",
  "retire the old version", "let go of the oldest" }

local function rehearse(hosts)
  return test.rehearse { recipe = "recipes/compose_blue_green.lua", secrets = SECRETS, hosts = hosts }
end

test.it("executes the steps in their order and says what each does", function()
  local shop_run = rehearse()
  local result = shop_run:run("deploy", { version = "v1" })
  test.equal(result.state, "done")
  test.equal(result:order(), STEPS)
  local up = result:commands(HOST, "start the new version")
  test.contains(up[1], "docker compose --project-name shop-v1-")
  test.contains(up[1], "up --detach --no-build web worker")
  test.contains(up[2], "docker network connect kamal shop-web-v1")
  test.contains(result:commands(HOST, "migrate")[1], "run --rm -T --no-deps --name shop.migrate-v1")
  test.equal(shop_run:serving(HOST), { ["shop-web"] = "shop-web-v1" })
  local all = json.encode(result.steps)
  test.contains(all, "[secret:DATABASE_PASSWORD]")
  test.ok(not all:find("a-database-password", 1, true))
end)

test.it("goes on from what a command left behind", function()
  local shop_run = rehearse()
  shop_run:run("deploy", { version = "v1" })
  shop_run:run("deploy", { version = "v2" })
  test.equal(shop_run:serving(HOST), { ["shop-web"] = "shop-web-v2" })
  test.equal(shop_run:run("rollback").state, "done")
  test.equal(shop_run:serving(HOST), { ["shop-web"] = "shop-web-v1" })
  test.equal(shop_run:containers(HOST)["shop-web-v2"], "exited")
end)

test.it("refuses a version that means another image tomorrow, and asks no server", function()
  local result = rehearse():run("deploy", { version = "latest" })
  test.equal({ result.state, result.exit_code, result:order() }, { "failed_undone", 2, {} })
end)

test.it("undoes a failure at any step, before or after its work", function()
  for index = 2, #STEPS - 1 do
    for _, after in ipairs { false, true } do
      local shop_run = rehearse()
      shop_run:run("deploy", { version = "v1" })
      local before = { shop_run:containers(HOST), shop_run:serving(HOST) }
      local result = shop_run:run("deploy", { version = "v2" }, { fail = { step = STEPS[index], after = after } })
      test.equal(result.state, "failed_undone")
      test.equal({ shop_run:containers(HOST), shop_run:serving(HOST) }, before)
    end
  end
end)
