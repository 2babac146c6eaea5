--- An engine as planned changes leave it: what it answers and refuses, in the engine's own ways.

local engine_module = require "deploy.planned.engine"
local facts = require "deploy.planned.facts"
local files = require "deploy.planned.files"
local placeholder = require "deploy.planned.placeholder"
local secret = require "native.secret"
local test = require "test"

--- An engine over facts; `docker.create(spec)` and so on, `docker.lines()` what was recorded.
local function engine(told)
  local changes, waits = {}, {}
  local recorder = { record = function(_, _, change)
    changes[#changes + 1] = change
    return change
  end, wait = function(_, _, words) waits[#waits + 1] = words end,
    reads_exec = function(_, options) return options and options.reads or false end, output = function() end }
  local planned, base = engine_module.new("web1", recorder), facts.engine("web1", told or {})
  local docker = { lines = function()
    local out = {}
    for index, change in ipairs(changes) do out[index] = files.line_of(change, placeholder.resolved) end
    return out
  end, waits = waits }
  return setmetatable(docker, { __index = function(_, name)
    return function(...)
      return planned:call({ name = name, reads = false }, base, ...)
    end
  end })
end

local IMAGES = { images = { "shop:v1", "shop:v2" } }
local RUNNING = { images = { "shop:v1" }, networks = { "kamal" }, containers = {
  shop = { image = "shop:v1", labels = { service = "shop" },
    networks = { kamal = { ip = "172.18.0.2", aliases = {} } } },
  old = { image = "shop:v0", state = "exited", labels = { service = "shop", version = "v0" } },
} }

test.it("makes one `docker run` of a create and its start", function()
  local docker = engine(IMAGES)
  local made = docker.create { image = "shop:v1", name = "shop" }
  test.equal(#made.id, 64)
  test.equal(docker.inspect(made.id:sub(1, 12)).state, "created")
  test.equal(docker.start(made.id), true)
  test.equal(docker.start("shop"), false)
  test.equal(docker.inspect("shop").running, true)
  test.equal(docker.lines(), { "docker run --detach --name shop shop:v1" })
end)

test.it("keeps create and start apart where something is between them", function()
  local docker = engine(IMAGES)
  local made = docker.create { image = "shop:v1", name = "shop" }
  docker.create_network("net")
  docker.connect_network("net", made.id)
  docker.start(made.id)
  test.equal(docker.lines(), { "docker create --name shop shop:v1", "docker network create net",
    "docker network connect net shop", "docker start shop" })
  test.equal(docker.inspect("shop").networks.net.ip, "address-of-shop")
end)

test.it("refuses what the engine would refuse", function()
  local docker = engine(RUNNING)
  test.raises("docker.conflict", function() docker.create { image = "shop:v1", name = "shop" } end)
  test.raises("docker.not_found", function() docker.create { image = "shop:v7", name = "new" } end)
  test.raises("usage", function() docker.create { image = "shop:v1", publish = { "http" } } end)
  test.raises("docker.conflict", function() docker.remove("shop") end)
  test.raises("docker.conflict", function() docker.rename("old", "shop") end)
  test.raises("docker.conflict", function() docker.kill("old") end)
  test.raises("docker.conflict", function() docker.exec("old", { "true" }) end)
  test.raises("docker.conflict", function() docker.remove_image("shop:v1") end)
  test.raises("docker.conflict", function() docker.create_network("kamal") end)
  for _, call in ipairs { "start", "stop", "remove", "inspect", "kill" } do
    test.raises("docker.not_found", function() docker[call]("nobody") end)
  end
  test.raises("docker.not_found", function() docker.remove_network("nowhere") end)
  test.raises("docker.not_found", function() docker.remove_volume("nothing") end)
  test.equal(docker.lines(), {})
end)

test.it("says nothing of what is so already", function()
  local docker = engine(RUNNING)
  test.equal(docker.start("shop"), false)
  test.equal(docker.stop("old"), false)
  test.equal(docker.lines(), {})
end)

test.it("knows real containers by their new names and states", function()
  local docker = engine(RUNNING)
  docker.stop("shop", "10s")
  docker.rename("shop", "shop_replaced")
  local id = docker.inspect("shop_replaced").id
  test.raises("docker.not_found", function() docker.inspect("shop") end)
  test.equal(docker.inspect(id).name, "shop_replaced")
  test.equal(#docker.list(), 0)
  test.equal(#docker.list { all = true, labels = { "service=shop" } }, 2)
  test.equal(docker.list({ all = true, name = "shop_replaced" })[1].state, "exited")
  docker.create { image = "shop:v1", name = "shop" }
  docker.remove("shop_replaced", { volumes = true })
  test.raises("docker.not_found", function() docker.inspect(id) end)
  test.equal(docker.lines(), { "docker stop --time 10 shop", "docker rename shop shop_replaced",
    "docker create --name shop shop:v1", "docker rm --volumes shop_replaced" })
end)

test.it("gives what was woken an address that is not known yet", function()
  local docker = engine { images = { "shop:v1" }, containers = { shop = { image = "shop:v1", state = "exited",
    networks = { kamal = { ip = "", aliases = {} } } } } }
  docker.start("shop")
  local ip = docker.inspect("shop").networks.kamal.ip
  test.ok(placeholder.is_planned_url("http://" .. ip .. ":80/up"))
end)

test.it("lists what is planned as the newest", function()
  local docker = engine { images = { "shop:v1" }, containers = { a = { created = 70 }, b = { created = 90 } } }
  docker.start(docker.create({ image = "shop:v1", name = "new", labels = { service = "shop" } }).id)
  local listed = docker.list { all = true }
  test.equal(listed[1].name, "new")
  test.ok(listed[1].created > 90)
  test.equal(listed[1].labels.service, "shop")
end)

test.it("follows images by name and ID", function()
  local docker = engine(IMAGES)
  docker.pull("shop:v3")
  local id = docker.inspect_image("shop:v3").id
  docker.tag_image("shop:v3", "shop:latest")
  test.equal(docker.inspect_image("shop").id, id)
  test.equal(docker.inspect_image(id).tags, { "shop:latest", "shop:v3" })
  test.equal(docker.remove_image("shop:latest").deleted, {})
  test.equal(docker.remove_image("shop:v3").deleted, { id })
  test.raises("docker.not_found", function() docker.inspect_image(id) end)
  docker.remove_image("shop:v1")
  test.raises("docker.not_found", function() docker.inspect_image("shop:v1") end)
  test.equal(docker.lines(), { "docker pull shop:v3", "docker tag shop:v3 shop:latest", "docker rmi shop:latest",
    "docker rmi shop:v3", "docker rmi shop:v1" })
end)

test.it("pulls nothing that the registry has not changed", function()
  local docker = engine { images = { ["shop:v1"] = { digests = { "shop@sha256:aa" } } },
    registry = { ["shop:v1"] = "sha256:aa" } }
  test.equal(docker.pull("shop:v1").changed, false)
  test.equal(docker.lines(), {})
end)

test.it("makes volumes with the containers that mount them", function()
  local docker = engine(IMAGES)
  docker.create { image = "shop:v1", name = "shop", volumes = { "data:/data", "/srv:/srv" } }
  test.equal(docker.inspect_volume("data").name, "data")
  docker.remove_volume("data")
  test.equal(#docker.list_volumes(), 0)
  test.equal(docker.create_volume("data").name, "data")
  test.equal(docker.create_volume("data").driver, "local")
  test.equal(docker.lines()[3], "docker volume create data")
end)

test.it("tells what is copied, shipped and pruned", function()
  local docker = engine(RUNNING)
  local other = { host = "web2", inspect_image = function() return { id = "sha256:7", tags = {}, bytes = 5 } end }
  docker.write("shop", "/etc/motd", "hello")
  docker.put_archive("shop", "/etc", { { name = "a", bytes = secret.value("TOKEN", "hush-hush") }, { name = "b" } })
  test.equal(docker.ship("shop:v3", { from = other }).changed, true)
  test.equal(docker.ship("shop:v3", { from = other }).changed, false)
  docker.prune("images", { filters = { label = { "a=b" }, dangling = { "false" } } })
  test.equal(docker.inspect_image("shop:v3").id, "sha256:7")
  test.equal(docker.lines(), { "docker cp - shop:/etc/motd", "docker cp - shop:/etc", "docker load",
    "docker image prune --force --filter dangling=false --filter label=a=b" })
end)

test.it("tells what is saved and loaded", function()
  local docker = engine(RUNNING)
  local saved = docker.save_images("shop:v1", "/tmp/a b.tar")
  test.equal(saved.images, { { name = "shop:v1", id = docker.inspect_image("shop:v1").id } })
  test.raises("docker.not_found", function() docker.save_images({ "shop:v1", "nobody:v1" }, "x.tar") end)
  docker.load_images("shop.tar")
  test.equal(docker.lines(), { "docker save --output '/tmp/a b.tar' shop:v1", "docker load --input shop.tar" })
end)

test.it("asks what runs, and assumes where only the plan knows", function()
  local told = { images = { "shop:v1" }, exec = { ["cat /etc/version"] = "1.0\n" },
    containers = { shop = { image = "shop:v1" } } }
  local docker = engine(told)
  test.equal(docker.exec("shop", { "cat", "/etc/version" }, { reads = true }).stdout, "1.0\n")
  docker.start(docker.create({ image = "shop:v1", name = "new" }).id)
  test.equal(docker.exec("new", { "cat", "/etc/version" }, { reads = true, planned = "2.0\n" }).stdout, "2.0\n")
  test.equal(docker.exec("new", { "touch", "a b" }, { env = { B = "2", A = "1" }, user = "app" }).code, 0)
  test.equal(docker.lines()[2], "docker exec --env A=1 --env B=2 --user=app new touch 'a b'")
  test.equal(docker.logs("new").text, "")
  test.equal(docker.wait("new"), 0)
  test.equal(docker.waits[1], "until new ends")
end)
