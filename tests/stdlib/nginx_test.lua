local config = require "proxy.nginx_config"
local nginx = require "proxy.nginx"
local test = require "test"

local function what(change, route)
  local out = { container = "0a1b2c3d4e5f", port = 3000, state = "running",
    route = { hosts = {}, app_port = 3000, drain_timeout = "30s" } }
  for key, value in pairs(change or {}) do out[key] = value end
  for key, value in pairs(route or {}) do out.route[key] = value end
  return out
end

test.it("learns from a container whom to ask for names, and whether idle connections outlive a reload", function()
  test.equal(config.facts("nginx version: nginx/1.22.1\nnameserver 127.0.0.11\n"),
    { resolver = "127.0.0.11", keeps_idle = false })
  test.equal(config.facts("nginx version: nginx/1.28.0\nnameserver 10.89.0.1\nnameserver 10.89.0.2\n"),
    { resolver = "10.89.0.1", keeps_idle = true })
  test.equal(config.facts("nginx version: nginx/1.27.3\nnameserver fd00::1\n"),
    { resolver = "[fd00::1]", keeps_idle = false })
  test.equal(config.facts("sh: not found\n"), config.UNKNOWN)
  local base = config.base({ resolver = "10.89.0.1", keeps_idle = true }, "/x/*.conf")
  test.contains(base, "resolver 10.89.0.1 valid=2s")
  test.contains(base, "keepalive_min_timeout 75s;")
  test.equal(config.base(config.UNKNOWN, "/x/*.conf"):find("keepalive_min_timeout", 1, true), nil)
end)

test.it("sends a service's requests to its container by name, looked up when asked", function()
  local made = config.service("shop-web", what({}, { response_timeout = "1m" }))
  test.contains(made, 'if ($deployrun_place ~ "^[^/]*/") { set $deployrun_service "shop-web"; }')
  test.contains(made, 'set $deployrun_target "0a1b2c3d4e5f";')
  test.contains(made, "proxy_pass http://$deployrun_target:3000$request_uri;")
  test.contains(made, "proxy_read_timeout 60000ms;")
  test.contains(made, "X-Forwarded-For $proxy_add_x_forwarded_for;")
  test.contains(config.service("shop-web", what({}, { forward_headers = false })), "X-Forwarded-For $remote_addr;")
end)

test.it("matches names and prefixes as they stand, what is more particular later", function()
  local route = { hosts = { "Shop.example", "www.shop.example" }, path_prefix = "/api/v1.0/" }
  test.contains(config.service("shop-web", what({}, route)),
    [["^(shop\.example|www\.shop\.example)/api/v1\.0/"]])
  test.contains(config.service("shop-web", what({}, { path_prefix = "/api" })), [["^[^/]*/api/"]])
  local names = { config.file_name("b", { hosts = { "x" } }),
    config.file_name("a", { hosts = {}, path_prefix = "/long" }),
    config.file_name("c", { hosts = { "x" }, path_prefix = "/a" }), config.file_name("z", { hosts = {} }) }
  table.sort(names)
  test.equal(names, { "0000-z.conf", "0005-a.conf", "1000-b.conf", "1002-c.conf" })
end)

test.it("answers 503 in a maintenance, with the words of who asked for it and nothing else", function()
  local made = config.service("shop-web", what { state = "maintenance", message = 'back at "9"\n$1 \\ off' })
  test.contains(made, "add_header Retry-After 5 always;")
  test.contains(made, [[return 503 "back at \"9\" ${deployrun_dollar}1 \\ off\n";]])
  test.equal(made:find("proxy_pass", 1, true), nil)
end)

test.it("reads a service back from the first line of its file", function()
  local given = what({ state = "maintenance", message = "soon" }, { hosts = { "shop.example" } })
  local first = config.service("shop-web", given):match("^[^\n]+")
  local found = nginx.parse_routes("services/1000-shop-web.conf " .. first .. "\nservices/x.conf\nnonsense\n")
  test.equal(found["shop-web"].target, "0a1b2c3d4e5f:3000")
  found["shop-web"].target = nil
  test.equal(found, { ["shop-web"] = given })
end)

test.it("tells workers that take requests from those that end theirs", function()
  test.equal(nginx.parse_workers("1 nginx: master process nginx -c /x\n12 nginx: worker process\n" ..
    "9 nginx: worker process is shutting down\n13 nginx: worker process   \n"), { ["12"] = true, ["13"] = true })
  test.equal(nginx.parse_workers(""), {})
end)

test.it("says what it cannot do before anybody counts on it", function()
  local proxy = nginx.new({ kind = "nginx", http_port = 80 }, { network = "kamal" })
  for _, ability in ipairs { "pause", "tls" } do
    test.raises("proxy.unsupported", function() proxy:needs(ability) end)
  end
  proxy:needs "maintenance"
end)
