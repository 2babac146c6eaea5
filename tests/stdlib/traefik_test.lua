local config = require "proxy.traefik_config"
local json = require "native.json"
local test = require "test"
local text = require "native.text"
local traefik = require "proxy.traefik"

local function what(change, route)
  local out = { container = "0a1b2c3d4e5f", port = 3000, state = "running",
    route = { hosts = {}, app_port = 3000, drain_timeout = "30s" } }
  for key, value in pairs(change or {}) do out[key] = value end
  for key, value in pairs(route or {}) do out.route[key] = value end
  return out
end

local function made(given) return json.decode(config.service("shop-web", given):match("\n(.*)")).http end

test.it("sends a service's requests to its container by name, a connection each", function()
  local http = made(what({}, { response_timeout = "1m" }))
  test.equal(http.services["shop-web"].loadBalancer.servers, { { url = "http://0a1b2c3d4e5f:3000" } })
  local transport = http.serversTransports[http.services["shop-web"].loadBalancer.serversTransport]
  test.equal(transport.maxIdleConnsPerHost, -1)
  test.equal(transport.forwardingTimeouts.responseHeaderTimeout, "60000ms")
  test.equal(http.routers["shop-web"].rule, "PathPrefix(`/`)")
  test.equal(http.middlewares, nil)
end)

test.it("matches names and prefixes as they stand, what is more particular first", function()
  local both = made(what({}, { hosts = { "Shop.example", "www.shop.example" }, path_prefix = "/api/v1.0/" }))
  test.equal(both.routers["shop-web"].rule,
    "(Host(`shop.example`) || Host(`www.shop.example`)) && (Path(`/api/v1.0`) || PathPrefix(`/api/v1.0/`))")
  local one = made(what({}, { hosts = { "shop.example" } }))
  test.equal(one.routers["shop-web"].rule, "Host(`shop.example`) && PathPrefix(`/`)")
  local prefix, none = made(what({}, { path_prefix = "/long" })), made(what())
  local order = { both, one, prefix, none }
  for index = 2, #order do
    local before, after = order[index - 1].routers["shop-web"].priority, order[index].routers["shop-web"].priority
    if before <= after then test.equal({ index, before, after }, "in falling order") end
  end
end)

test.it("answers in a maintenance by its plugin: it has no server then", function()
  local http = made(what { state = "maintenance" })
  local balancer = http.services["shop-web"].loadBalancer
  test.equal(#balancer.servers, 0)
  test.contains(config.service("shop-web", what { state = "maintenance" }), '"servers": []')
  local name = http.routers["shop-web"].middlewares[1]
  local words = text.base64_encode "down for maintenance\n"
  test.equal(http.middlewares[name].plugin.maintenance,
    { body = words, retryAfter = "5", type = "text/plain; charset=utf-8" })
end)

test.it("answers with a message, or with a page that no template of Traefik's can take apart", function()
  local function answer(given, page)
    local http = json.decode(config.service("shop-web", given, page):match("\n(.*)")).http
    return http.middlewares[http.routers["shop-web"].middlewares[1]].plugin.maintenance
  end
  local said = answer(what { state = "maintenance", message = "back at 9", retry_after = 90 })
  test.equal(text.base64_decode(said.body), "back at 9\n")
  test.equal(said.retryAfter, "90")
  local page = "<p>{{ env \"HOME\" }} `x`</p>"
  local shown = config.service("shop-web", what { state = "maintenance", page = "1" }, page)
  test.equal(shown:find("{{", 1, true), nil)
  said = answer(what { state = "maintenance", page = "1" }, page)
  test.equal({ text.base64_decode(said.body), said.type }, { page, "text/html; charset=utf-8" })
  local given = what { state = "maintenance", message = "{{{ 9 }}}" }
  local source = config.service("shop-web", given)
  test.equal(source:find("{{", 1, true), nil)
  test.equal(config.header(source), given)
end)

test.it("does not pass on what a client says of those before it, where told so", function()
  local http = made(what({}, { forward_headers = false }))
  local headers = http.middlewares[http.routers["shop-web"].middlewares[1]].headers
  test.equal(headers.customRequestHeaders["X-Forwarded-For"], "")
  test.equal(headers.customResponseHeaders, nil)
end)

test.it("reads a service back from the first line of its file", function()
  local given = what({ state = "maintenance" }, { hosts = { "shop.example" } })
  local first = config.service("shop-web", given):match("^[^\n]+")
  local found = traefik.parse_routes("services/shop-web.yml " .. first .. "\nservices/x.yml\nnonsense\n")
  test.equal(found["shop-web"].target, "0a1b2c3d4e5f:3000")
  found["shop-web"].target = nil
  test.equal(found, { ["shop-web"] = given })
end)

test.it("knows from Traefik's own word whether it runs what a file says", function()
  local function said(mark, router)
    return json.encode { routers = { ["shop-web@file"] = router or { status = "enabled" } },
      services = { ["shop-web@file"] = { status = "enabled", loadBalancer = { serversTransport = mark } } } }
  end
  local mark = config.mark("shop-web", what())
  test.equal(config.runs(said(mark), "shop-web", mark), true)
  test.equal(config.runs(said(mark .. "@file"), "shop-web", mark), true)
  test.equal(config.runs(said(config.mark("shop-web", what { port = 80 })), "shop-web", mark), false)
  test.equal(config.runs("{}", "shop-web", mark), nil)
  local runs, problem = config.runs(said(mark, { status = "disabled", error = { "error while parsing rule" } }),
    "shop-web", mark)
  test.equal({ runs, problem }, { false, "error while parsing rule" })
end)

test.it("looks at nothing outside, and asks of nobody but itself", function()
  local words = table.concat(config.arguments("/deployrun/services"), " ")
  test.contains(words, "--global.checknewversion=false")
  test.contains(words, "--entrypoints.traefik.address=127.0.0.1:")
end)

test.it("starts no maintenance where Traefik was started without what answers then: that would be 404", function()
  local proxy = traefik.new({ kind = "traefik", http_port = 80 }, { network = "kamal" })
  local old = { cmd = { "traefik", "--api.insecure=true" } }
  local host = { name = "h1", docker = { inspect = function() return old end } }
  local err = test.raises("proxy.command", function() proxy:maintenance(host, "shop-web") end)
  test.contains(err.hint, "docker rm -f traefik")
end)

test.it("says what it cannot do before anybody counts on it", function()
  local proxy = traefik.new({ kind = "traefik", http_port = 80 }, { network = "kamal" })
  for _, ability in ipairs { "pause", "tls" } do
    test.raises("proxy.unsupported", function() proxy:needs(ability) end)
  end
  proxy:needs "maintenance"
end)
