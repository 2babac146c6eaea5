local caddy = require "proxy.caddy"
local config = require "proxy.caddy_config"
local files = require "native.files"
local json = require "native.json"
local process = require "native.process"
local test = require "test"

local function route(change)
  local out = { hosts = {}, app_port = 3000, tls = false, drain_timeout = "30s" }
  for key, value in pairs(change or {}) do out[key] = value end
  return out
end

local function routes(made) return made.apps.http.servers.deployrun.routes end

test.it("begins with an empty server whose administration nobody outside reaches", function()
  local made = config.with_listeners(config.decode(""), {})
  test.equal(made.admin.listen, "127.0.0.1:2019")
  test.equal(made.apps.http.servers.deployrun.listen, { ":80" })
  test.equal(made.apps.http.servers.deployrun.automatic_https, { disable = true })
  test.equal(#routes(made), 0)
end)

test.it("adds a route for a service, and the same text when it is there already", function()
  local once = config.encode(config.with_route(config.decode(""), "shop-web", route()))
  local twice = config.encode(config.with_route(config.decode(once), "shop-web", route()))
  test.equal(twice, once)
  local made = routes(config.decode(once))[1]
  test.equal(made["@id"], "deployrun-shop-web")
  test.equal(made.match, nil)
  local serving = made.handle[1].routes[2]
  test.equal(serving.match[1].file.root, "/deployrun/shop-web")
  test.equal(serving.match[1].file.try_files, { "serving/*:3000" })
  test.equal(serving.handle[2].upstreams, { { dial = "{deployrun.upstream}" } })
end)

test.it("keeps the routes of other services, particular ones before the one for all hosts", function()
  local made = config.decode("")
  config.with_route(made, "all-web", route())
  config.with_route(made, "shop-web", route { hosts = { "shop.example" } })
  test.equal(routes(made)[1]["@id"], "deployrun-shop-web")
  test.equal(routes(made)[1].match, { { host = { "shop.example" } } })
  test.equal(routes(made)[2]["@id"], "deployrun-all-web")
  config.without_route(made, "shop-web")
  test.equal(#routes(made), 1)
end)

test.it("reads targets from what a server lists", function()
  test.equal(caddy.parse_routes("shop-web 0a1b2c3d4e5f:3000 running\nblog 112233445566:80 maintenance\nnonsense\n"), {
    ["shop-web"] = { container = "0a1b2c3d4e5f", port = 3000, state = "running", target = "0a1b2c3d4e5f:3000" },
    blog = { container = "112233445566", port = 80, state = "maintenance", target = "112233445566:80" },
  })
end)

test.it("says that it cannot hold requests before anybody counts on it", function()
  local proxy = caddy.new({ kind = "caddy", http_port = 80 }, { network = "kamal" })
  test.raises("proxy.unsupported", function() proxy:needs("pause") end)
  proxy:needs("maintenance")
end)

--- A server whose folder is real and whose Caddy has the configuration that it was told last. `changed` is called once
--- each change is made.
local function server(changed)
  local one = { name = "h1", docker = {} }
  local home = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local folder = home .. "/.deployrun/caddy/"
  function one.exec(_, argv, given)
    local result = process.run(argv, { env = { HOME = home } })
    if not (given and given.reads) then changed() end
    return result
  end
  function one.write(_, path, bytes)
    files.write(path, bytes, { parents = true })
    changed()
  end
  function one.docker.exec(_, _, argv)
    one.running = files.read((argv[4]:gsub("^/deployrun/", folder)))
    changed()
    return { code = 0, stdout = "", stderr = "" }
  end
  --- What a request gets: the newest target at the port of the route that runs, and by which name.
  function one.serves()
    local made = routes(config.decode(one.running))[1]
    local pattern = made.handle[1].routes[2].match[1].file.try_files[1]
    local found = process.run({ "sh", "-c", "cd \"$0\" && ls -t " .. pattern .. " 2>/dev/null | head -n 1",
      folder .. "shop-web" }).stdout
    return json.encode { made.match and made.match[1].host[1], (found:gsub("^serving/(.-)%s*$", "%1")) }
  end
  function one.close() files.remove(home, { recursive = true }) end
  return one
end

local OLD = { container = ("a"):rep(64), route = route { hosts = { "old.example" } } }
local NEW = { container = ("b"):rep(64), route = route { hosts = { "new.example" }, app_port = 8000 } }
local SHORT = OLD.container:sub(1, 12)

test.it("a switch that is cut off anywhere is taken back, and there is a target at each moment", function()
  local cut, whole, nobody = 0
  repeat
    cut = cut + 1
    local left, host = 0, nil
    host = server(function()
      left = left - 1
      if left >= 0 and not host.serves():find("00\"", 1, true) then nobody = nobody or cut end
      if left == 0 then error({ kind = "cancelled", message = "interrupted" }, 0) end
    end)
    local proxy = caddy.new({ kind = "caddy", http_port = 80 }, { network = "kamal" })
    proxy:switch(host, "shop-web", OLD)
    process.run { "sleep", "0.02" }  -- so that what follows is newer, by any file system's clock
    left = cut
    whole = pcall(proxy.switch, proxy, host, "shop-web", NEW)
    left = 0
    -- As an undo does (deploy/app/release.lua).
    if proxy:target(host, "shop-web").container ~= SHORT then proxy:switch(host, "shop-web", OLD) end
    proxy:drain(host, "shop-web", {}, OLD.route)
    test.equal({ cut, host.serves() }, { cut, json.encode { "old.example", SHORT .. ":3000" } })
    host.close()
  until whole
  test.equal(nobody, nil)
  test.ok(cut > 4)
end)
