--- What stands beside an app: its settings, and what becomes of its containers.

local config = require "deploy.app.config"
local files = require "native.files"
local process = require "native.process"
local test = require "test"
local yaml = require "native.yaml"

local function complete(text)
  local value, places = yaml.decode(text, { file = "app.yml" })
  return config.complete(value, "app.yml", places)
end

local APP = "service: shop\nimage: registry:5000/shop\nhosts: [deploy@10.0.0.5, 10.0.0.6]\naccessories:\n"

test.it("fills in what an accessory leaves out", function()
  local app = complete(APP .. [[
  search:
    image: meilisearch:v1.10
    port: 7700
    volumes: ["shop-search:/meili_data"]
    env: { clear: { MEILI_ENV: production }, secret: [MEILI_MASTER_KEY] }
    health: { path: /health }
    reindex: bin/rails search:reindex
  cache: { image: "registry:5000/redis:7", cmd: redis-server --save 60 1 }
]])
  test.equal(#app.accessories, 2)
  local cache, search = app.accessories[1], app.accessories[2]
  test.equal(cache.name, "cache")
  test.equal(cache.cmd, { "redis-server", "--save", "60", "1" })
  test.equal(cache.health, nil)
  test.equal(search.container, "shop-search")
  test.equal(search.restart, "unless-stopped")
  test.equal(search.health.port, 7700)
  test.equal(search.health.deadline, "30s")
  test.equal(search.secrets, { "MEILI_MASTER_KEY" })
  test.equal(search.reindex, { "bin/rails", "search:reindex" })
  test.equal(complete("service: shop\nimage: shop\nhosts: [a]\n").accessories, {})
end)

test.it("names every mistake with its place and the nearest word", function()
  local err = test.raises("config.invalid", function()
    complete(APP .. [[
  search:
    imgae: meilisearch:v1
    volumes: [data]
    hosts: [10.0.0.7]
    restart: sometimes
    health: { interval: 1s }
  web-two: { image: other }
  web: { image: "other:v1", labels: { service: x } }
]])
  end)
  local all, hints = err.message, err.hint or ""
  for _, other in ipairs(err.also) do
    all, hints = all .. "\n" .. other.message, hints .. "\n" .. (other.hint or "")
  end
  test.contains(all, "app.yml:6:12: unknown key `imgae`")
  test.contains(hints, "image")
  test.contains(all, "`accessories.search.image` is missing")
  test.contains(all, "app.yml:7:15: `accessories.search.volumes[1]`: \"data\"")
  test.contains(all, "app.yml:8:13: `accessories.search.hosts[1]`: \"10.0.0.7\" is none of the app's servers: "
    .. "10.0.0.5, 10.0.0.6")
  test.contains(all, "app.yml:9:14: `accessories.search.restart`: \"sometimes\" is none of")
  test.contains(all, "`accessories.search.health.path` is missing")
  test.contains(all, "there is no port to ask")
  test.contains(all, "\"other\" names no tag")
  test.contains(all, "called like one of the role web")
  test.contains(all, "label `service` is set by deployrun")
end)

test.it("knows the app's servers by the names that they have", function()
  local app = complete [[
service: shop
image: shop
roles:
  web: { hosts: ["deploy@[fd00::5]:22", { address: 10.0.0.6, name: two }] }
  jobs: { hosts: ["root@10.0.0.7:2222"] }
accessories:
  search: { image: "meili:v1", hosts: ["fd00::5", two, "10.0.0.7:2222"] }
]]
  test.equal(app.accessories[1].hosts, { "fd00::5", "two", "10.0.0.7:2222" })
end)

local RECIPE = [[
local deploy = require "deploy"
local app = deploy.app { service = "shop", image = "shop", hosts = { "h1", "h2" }, accessories = {
  search = { image = "meili:v1", port = 7700, volumes = { "shop-search:/data" }, health = { path = "/health" } },
  mail = { image = "mail:v1", hosts = { "h2" } }, cache = { image = "cache:v1", hosts = { "h2" } },
} }
local function look(run)
  return run:step("look", { on = app.hosts, reads = true, run = function(host) return app:look(host) end })
end
deploy.command "boot" { run = function(run)
  local seen = look(run)
  run:step("boot", { on = app:accessory_hosts(),
    run = function(host) return app:boot_accessories(host, seen[host]) end,
    undo = function(host) app:unboot_accessories(host, seen[host]) end })
  run:step("end", { run = function() end })
end }
deploy.command "reboot" { params = { anyway = { type = "boolean" } }, run = function(run)
  local seen = look(run)
  run:step("reboot", { on = app:accessory_hosts(),
    run = function(host) return app:reboot_accessories(host, seen[host], { force = run.anyway }) end,
    undo = function(host) app:unreboot_accessories(host, seen[host]) end })
  run:step("end", { run = function() end })
  run:step("forget", { on = app:accessory_hosts(), final = true,
    run = function(host) app:forget_accessories(host) end })
end }
deploy.command "remove" { run = function(run)
  local seen = look(run)
  run:step("stop", { on = app:accessory_hosts(), run = function(host) return app:stop_accessories(host) end,
    undo = function(host) app:unstop_accessories(host, seen[host]) end })
  run:step("end", { run = function() end })
  run:step("remove", { on = app:accessory_hosts(), final = true,
    run = function(host) return app:remove_accessories(host) end })
end }
]]

local function shop()
  local path = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "") .. "/accessories.lua"
  files.write(path, RECIPE)
  return test.rehearse { recipe = path }
end

test.it("boots what is missing on the first server, once, and takes it back", function()
  local one = shop()
  local failed = one:run("boot", {}, { fail = { step = "end" } })
  test.equal(failed.state, "failed_undone")
  test.equal(one:containers("h1")["shop-search"], nil)

  local done = one:run("boot")
  test.equal(done.state, "done")
  local commands = table.concat(done:commands("h1", "boot"), "\n")
  test.contains(commands, "docker run --detach --name shop-search")
  test.contains(commands, "--volume shop-search:/data")
  test.equal(commands:find("label service=", 1, true), nil)
  test.equal(one:containers("h2"), { ["shop-cache"] = "running", ["shop-mail"] = "running" })
  local networks = 0
  for _, command in ipairs(done:commands("h2", "boot")) do
    if command:find("docker network create", 1, true) then networks = networks + 1 end
  end
  test.equal(networks <= 1, true)
  test.equal(one:run("boot"):commands("h1", "boot"), {})
end)

test.it("replaces one only where it changed, or when asked; a failure brings the old one back", function()
  local one = shop()
  one:run("boot")
  for _, command in ipairs(one:run("reboot"):commands("h1", "reboot")) do test.contains(command, "docker pull") end

  local undone = one:run("reboot", { anyway = true }, { fail = { step = "end" } })
  test.equal(undone.state, "failed_undone")
  test.equal(one:containers("h1"), { ["shop-search"] = "running" })

  local done = one:run("reboot", { anyway = true })
  test.equal(done.state, "done")
  test.contains(table.concat(done:commands("h1", "forget"), "\n"), "docker rm --force shop-search_set_aside")
  test.equal(one:containers("h1"), { ["shop-search"] = "running" })
end)

test.it("removes a container and no volume; until then a failure starts it again", function()
  local one = shop()
  one:run("boot")
  test.equal(one:run("remove", {}, { fail = { step = "end" } }).state, "failed_undone")
  test.equal(one:containers("h1")["shop-search"], "running")
  local gone = one:run("remove")
  test.equal(gone.state, "done")
  test.equal(one:containers("h1")["shop-search"], nil)
  for _, command in ipairs(gone:commands()) do test.equal(command:find("--volumes", 1, true), nil) end
end)
