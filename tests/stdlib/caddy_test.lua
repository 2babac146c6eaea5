local caddy = require "proxy.caddy"
local config = require "proxy.caddy_config"
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
