local docker = require "native.docker"
local files = require "native.files"
local process = require "native.process"
local secret = require "native.secret"
local test = require "test"

test.it("tells all mistakes of a container at once", function()
  local ok, err = pcall(docker.check, { imge = "shop", publish = { "http" }, restart = "sometimes" })
  test.equal(ok, false)
  test.equal(err.kind, "usage")
  for _, part in ipairs { "image is missing", "`http` is not", "restart: `sometimes`", "did you mean `image`?" } do
    test.ok(err.problems:find(part, 1, true), err.problems)
  end
end)

test.it("gives the equivalent command, secrets by name", function()
  local token = secret.value("TOKEN", "hush-hush-hush")
  local env = { TOKEN = token, N = 3 }
  local argv = docker.run_argv { image = "127.0.0.1:5000/shop:v1", name = "shop", env = env, cmd = {} }
  test.equal(table.concat(argv, " "),
    "docker run --detach --name shop --env N=3 --env TOKEN=[secret:TOKEN] 127.0.0.1:5000/shop:v1")
end)

test.it("says that there is no engine, and whose", function()
  local engine = docker.client { socket = "/nonexistent/docker.sock", host = "web1" }
  local ok, err = pcall(engine.ping, engine)
  test.equal(ok, false)
  test.equal(err.kind, "docker.connect")
  test.equal(err.host, "web1")
  test.equal(err.cause.kind, "http.connect")
  test.equal(engine:requests(), 1)
end)

test.it("asks nothing for names that cannot be", function()
  local engine = docker.client { socket = "/nonexistent/docker.sock" }
  for _, name in ipairs { "", "..", "a/b", "a b" } do
    local ok, err = pcall(engine.inspect, engine, name)
    test.equal(ok, false)
    test.equal(err.kind, "usage")
  end
  test.equal(engine:requests(), 0)
end)

test.it("ships from this machine's engine where an app says so, and names a missing image first", function()
  local folder = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local app = [[deploy.app { service = "shop", image = "shop", hosts = { "10.0.0.5" }, pull = "ship" }]]
  local recipe = files.read("recipes/prod.lua"):gsub('deploy%.app "[^"]*"', function() return app end)
  files.write(folder .. "/ship.lua", recipe, { mode = "0644" })
  local function rehearsed(images)
    return test.rehearse { recipe = folder .. "/ship.lua", hosts = { ["local"] = { images = images } } }
  end
  local result = rehearsed({ "shop:v1" }):run("deploy", { version = "v1" })
  test.equal(result.state, "done")
  test.equal(result:commands("10.0.0.5", "pull the image"), { "docker load" })
  local missing = rehearsed({}):run("deploy", { version = "v1" })
  test.ok(missing.state ~= "done")
  test.equal(missing.error.kind, "docker.not_found")
  files.remove(folder, { recursive = true })
end)

test.it("knows which calls of an engine change it", function()
  local kinds = require("native.door").kinds("docker")
  for _, name in ipairs { "get_archive", "read", "stats", "disk_usage", "events" } do
    test.ok(kinds.reads[name], name)
  end
  for _, name in ipairs { "ship", "put_archive", "write", "prune" } do
    test.ok(not kinds.reads[name] and not kinds.free[name], name)
  end
end)
