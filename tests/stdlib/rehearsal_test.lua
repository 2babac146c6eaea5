--- recipes/prod.lua executed against facts: its order, what it does where, and what becomes of a failure at each step.

local files = require "native.files"
local json = require "native.json"
local process = require "native.process"
local test = require "test"

local SECRETS = { REGISTRY_PASSWORD = "a-registry-password", DATABASE_URL = "postgres://shop" }
local WEB = { "10.0.0.5", "10.0.0.6", "10.0.0.7" }
local STEPS = { "look at the servers", "see to the proxy", "pull the image", "start the new version",
  "wait until it is ready", "switch traffic", "retire the old version", "let go of the oldest" }

local function prod(hosts)
  return test.rehearse { recipe = "recipes/prod.lua", secrets = SECRETS, hosts = hosts }
end

local function state_of(shop)
  local out = {}
  for _, host in ipairs(WEB) do out[host] = { containers = shop:containers(host), serving = shop:serving(host) } end
  return out
end

test.it("executes the steps in their order and says what each does", function()
  local shop = prod()
  local result = shop:run("deploy", { version = "v1" })
  test.equal(result.state, "done")
  test.equal(result.exit_code, 0)
  test.equal(result:order(), STEPS)
  test.equal(#result:commands("10.0.0.5", "start the new version"), 1)
  test.equal(#result:commands("10.0.0.7", "start the new version"), 2)
  local switch = result:commands("10.0.0.6", "switch traffic")[1]
  test.contains(switch, "kamal-proxy deploy shop-web --target=$(docker ps -aq -f name=^shop-web-v1$):3000")
  test.equal(result.steps[6].hosts[1].changes[1].note, "traffic of shop-web goes to shop-web-v1")
  test.equal(shop:serving("10.0.0.7"), { ["shop-web"] = "shop-web-v1" })
  test.equal(shop:containers("10.0.0.7"),
    { ["kamal-proxy"] = "running", ["shop-web-v1"] = "running", ["shop-worker-v1"] = "running" })
  test.equal(result.logs, { "shipping registry.example.com/acme/shop:v1" })
end)

test.it("shows secrets by name alone", function()
  local result = prod():run("deploy", { version = "v1" })
  local all = json.encode(result.steps)
  test.contains(all, "[secret:DATABASE_URL]")
  test.ok(not all:find("postgres://shop", 1, true))
  test.ok(not all:find("a-registry-password", 1, true))
end)

test.it("goes on from what a command left behind", function()
  local shop = prod()
  shop:run("deploy", { version = "v1" })
  test.equal(#shop:run("deploy", { version = "v1" }):commands(), 0)
  test.equal(#shop:run("deploy", { version = "v2" }):commands("10.0.0.5"), 4)
  test.equal(shop:run("rollback").state, "done")
  test.equal(shop:serving("10.0.0.5"), { ["shop-web"] = "shop-web-v1" })
  test.equal(shop:containers("10.0.0.5")["shop-web-v2"], "exited")
end)

test.it("undoes a failure at any step on any server, before or after its work", function()
  for index = 2, #STEPS - 1 do
    for _, after in ipairs { false, true } do
      local shop = prod()
      shop:run("deploy", { version = "v1" })
      local before = state_of(shop)
      local result = shop:run("deploy", { version = "v2" }, { fail = { step = STEPS[index], host = "10.0.0.6",
        after = after, error = { kind = "x.broken", message = "broken on purpose" } } })
      test.equal(result.state, "failed_undone")
      test.equal(result.exit_code, 1)
      test.equal(result.error.kind, "x.broken")
      test.equal(result.error.step, STEPS[index])
      test.equal(result.error.host, "10.0.0.6")
      test.equal(state_of(shop), before)
    end
  end
end)

test.it("retries with pauses on its own clock", function()
  local result = prod():run("deploy", { version = "v1" }, { fail = { step = 3, host = "10.0.0.5", times = 2 } })
  test.equal(result.state, "done")
  test.equal(result.ms, 500 + 1000)
end)

test.it("reports a failure of the final step only", function()
  local result = prod():run("deploy", { version = "v1" }, { fail = { step = "let go of the oldest" } })
  test.equal(result.state, "done")
end)

test.it("asks a person when an undo fails", function()
  local result = prod():run("deploy", { version = "v1" }, { fail = {
    { step = "switch traffic", host = "10.0.0.5" },
    { step = "start the new version", host = "10.0.0.7", undo = true, error = "no way back" },
  } })
  test.equal(result.state, "needs_person")
  test.equal(result.exit_code, 5)
  test.contains(result.left[1], "10.0.0.7: undoing start the new version failed: no way back")
end)

test.it("ends what hangs by the step's time limit, and says where there is none", function()
  local shop = prod()
  local result = shop:run("deploy", { version = "v1" },
    { fail = { step = "pull the image", host = "10.0.0.5", hang = true } })
  test.equal(result.error.kind, "timeout")
  test.ok(result.ms >= 3 * 600000 + 500 + 1000, result.ms)
  test.equal(shop:containers("10.0.0.5"), {})
  result = shop:run("deploy", { version = "v1" },
    { fail = { step = "switch traffic", host = "10.0.0.5", hang = true } })
  test.equal(result.error.kind, "recipe.endless_wait")
end)

test.it("raises what a run would: a missing image, a release that is not kept", function()
  local image = "registry.example.com/acme/shop:v9"
  local result = prod({ ["10.0.0.6"] = { registry = { [image] = false } } }):run("deploy", { version = "v9" })
  test.equal(result.error.kind, "docker.not_found")
  test.equal(result.error.step, "pull the image")
  test.equal(prod():run("rollback").error.kind, "app.no_release")
end)

test.it("takes facts of what is there", function()
  local shop = prod { ["10.0.0.5"] = { networks = { "kamal" }, images = { "basecamp/kamal-proxy:v0.9.2" },
    containers = { ["kamal-proxy"] = { image = "basecamp/kamal-proxy:v0.9.2", state = "exited" } } } }
  local result = shop:run("deploy", { version = "v1" })
  test.equal(result:commands("10.0.0.5", "see to the proxy"), { "docker start kamal-proxy" })
end)

test.it("refuses a fault at a step that does not take place, and unknown parameters", function()
  local err = test.raises("usage", function()
    prod():run("deploy", { version = "v1" }, { fail = { step = "swich traffic" } })
  end)
  test.contains(err.hint, "switch traffic")
  test.equal(prod():run("deploy", { versoin = "v1" }).error.kind, "usage")
end)

test.it("plans the demo behind either proxy", function()
  for _, proxy in ipairs { "kamal_proxy", "caddy" } do
    local shop = test.rehearse { recipe = "recipes/demo.lua" }
    local result = shop:run("demo", { registry = "127.0.0.1:5000", port = 8080, proxy = proxy })
    test.equal(result.state, "done")
    test.equal(result.ms, 2000)
    test.equal(shop:serving("local"), { ["deployrun-demo-web"] = "deployrun-demo-web-v2" })
    test.equal(shop:containers("local")["deployrun-demo-web-v1"], "exited")
    test.equal(#result:commands("local", "v2: see to the proxy"), 0)
  end
end)

-- A recipe of somebody else, with files, commands and pauses.
local OTHER = [[
local deploy = require "deploy"
local hosts = deploy.hosts { "web1", "web2" }
deploy.command "prepare" {
  run = function(run)
    local seen = run:step("look", { on = hosts, reads = true, run = function(host)
      return { kernel = host:exec({ "uname", "-r" }).stdout, motd = host:read("/etc/motd") }
    end })
    run:step("write", { on = hosts, rolling = { limit = 1, wait = "1h" },
      run = function(host)
        host:write("/etc/motd", "kernel " .. seen[host].kernel .. "\n")
        local said = host:exec({ "hostname" }).stdout
        return { said = said, unchanged = false }
      end,
      undo = function(host) host:write("/etc/motd", seen[host].motd) end })
    deploy.sleep("30m")
    run:step("check", { on = hosts, reads = true, run = function(host)
      local seen = host:probe("http://127.0.0.1/up")
      if not seen.ok then deploy.fail("not up: " .. seen.reason) end
    end })
  end,
}
]]

local function other(more)
  local path = process.run({ "mktemp" }).stdout:gsub("%s+$", "")
  files.write(path, OTHER)
  local facts = { files = { ["/etc/motd"] = "hello\n" }, exec = { ["uname -r"] = "6.1", hostname = "its-name\n" } }
  local hosts = { web1 = facts, web2 = facts }
  for name, value in pairs(more or {}) do hosts[name] = value end
  return test.rehearse { recipe = path, hosts = hosts }, path
end

test.it("rehearses any recipe: files, commands, pauses", function()
  local rehearsal, path = other()
  local result = rehearsal:run("prepare")
  os.remove(path)
  test.equal(result.state, "done")
  test.equal(result.ms, 90 * 60000)
  test.equal(result:commands("web1"), { "write /etc/motd", "hostname" })
  test.equal(rehearsal:file("web1", "/etc/motd"), "kernel 6.1\n")
  test.contains(result.steps[2].hosts[1].changes[1].diff, "-hello\n+kernel 6.1")
end)

test.it("lets a probe fail, and sees the undo", function()
  local rehearsal, path = other { ["local"] = { http = { ["http://127.0.0.1/up"] = 503 } } }
  local result = rehearsal:run("prepare")
  os.remove(path)
  test.equal(result.state, "failed_undone")
  test.equal(result.error.message, "not up: status 503")
  test.equal(rehearsal:file("web2", "/etc/motd"), "hello\n")
  test.equal(result:commands("web2", "write", true), { "write /etc/motd" })
end)
