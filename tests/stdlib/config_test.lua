local config = require "deploy.app.config"
local test = require "test"
local yaml = require "native.yaml"

local function complete(text)
  local value, places = yaml.decode(text, { file = "app.yml" })
  return config.complete(value, "app.yml", places)
end

local SMALL = "service: shop\nimage: registry:5000/shop\nhosts: [10.0.0.5]\n"

test.it("fills in what a small file leaves out", function()
  local app = complete(SMALL)
  test.equal(app.network, "kamal")
  test.equal(app.retain, 5)
  test.equal(app.pull, "missing")
  test.equal(app.proxy.kind, "kamal_proxy")
  test.equal(#app.roles, 1)
  local web = app.roles[1]
  test.equal(web.name, "web")
  test.equal(web.proxied, true)
  test.equal(web.route.app_port, 80)
  test.equal(web.health.path, "/up")
  test.equal(web.health.interval, "100ms")
  test.equal(web.stop_timeout, "10s")
end)

test.it("passes on what is said of the lock", function()
  test.equal(complete(SMALL .. "lock: false\n").lock, false)
  test.equal(complete(SMALL .. "lock: { lease: 45s }\n").lock, { lease = "45s" })
  test.equal(complete(SMALL).lock, nil)
end)

test.it("puts the primary role first and only it behind the proxy", function()
  local app = complete [[
service: shop
image: shop
roles:
  jobs: { hosts: [a], cmd: bin/jobs --all }
  web: { hosts: [a, b] }
  admin: { hosts: [b], proxy: { host: admin.example.com, app_port: 3001 } }
proxy: { host: shop.example.com, app_port: 3000 }
]]
  local names, proxied = {}, {}
  for index, role in ipairs(app.roles) do names[index], proxied[index] = role.name, role.proxied end
  test.equal(names, { "web", "admin", "jobs" })
  test.equal(proxied, { true, true, false })
  test.equal(app.roles[2].route.hosts, { "admin.example.com" })
  test.equal(app.roles[2].route.app_port, 3001)
  test.equal(app.roles[3].cmd, { "bin/jobs", "--all" })
  test.equal(app.roles[3].health, nil)
end)

test.it("lets a role add to and override the root", function()
  local app = complete(SMALL:gsub("hosts.*", "") .. [[
roles:
  web:
    hosts: [a]
    env: { clear: { B: 3 }, secret: [TOKEN] }
    stop_timeout: 30s
env: { clear: { A: 1, B: 2 }, secret: [KEY, TOKEN] }
]])
  local web = app.roles[1]
  test.equal(web.env, { A = 1, B = 3 })
  test.equal(web.secrets, { "KEY", "TOKEN" })
  test.equal(web.stop_timeout, "30s")
end)

test.it("names every problem at once, in the order of the file, with the nearest key", function()
  local err = test.raises("config.invalid", function()
    complete [[
service: Shop
imgae: shop
hosts: []
health:
  deadlin: 3s
  timeout: soon
proxy:
  kind: kamalproxy
]]
  end)
  local messages = { err.message }
  for _, other in ipairs(err.also) do messages[#messages + 1] = other.message end
  local all = table.concat(messages, "\n")
  test.equal(#messages, 7)
  test.contains(messages[1], "app.yml:1:")
  test.contains(all, "`image` is missing")
  test.contains(all, "app.yml:2:8: unknown key `imgae`")
  test.contains(all, "app.yml:3:8: `hosts` is empty")
  test.contains(all, "app.yml:5:12: unknown key `deadlin`")
  test.contains(all, "app.yml:6:12: `health.timeout`: expected a duration")
  test.contains(all, "app.yml:8:9: `proxy.kind`: \"kamalproxy\" is none of kamal_proxy, caddy, nginx, haproxy, traefik")
  local hints = {}
  for _, each in ipairs { err, unpack(err.also) } do hints[#hints + 1] = each.hint end
  test.contains(table.concat(hints, "\n"), "deadline")
  test.contains(table.concat(hints, "\n"), "image")
end)

test.it("refuses what cannot be together: servers twice, a tag in the image, our labels, tls without a name", function()
  local err = test.raises("config.invalid", function()
    complete [[
service: shop
image: registry:5000/shop:v1
hosts: [a]
roles: { web: { hosts: [a], labels: { service: other } } }
proxy: { tls: true }
]]
  end)
  local all = err.message
  for _, other in ipairs(err.also) do all = all .. "\n" .. other.message end
  test.contains(all, "`image` names a tag")
  test.contains(all, "exclude each other")
  test.contains(all, "label `service` is set by deployrun")
  test.contains(all, "`proxy.tls` needs `proxy.host`")
end)

test.it("takes a table as well as a file", function()
  local app = config.complete({ service = "shop", image = "shop", hosts = { "a" } }, "recipe")
  test.equal(app.roles[1].hosts, { "a" })
  local err = test.raises("config.invalid", function() config.complete({ service = "shop" }, "recipe") end)
  test.contains(err.message, "recipe: ")
end)

test.it("knows that kamal-proxy takes 2xx alone for healthy", function()
  local err = test.raises("config.invalid", function() complete(SMALL .. "health: { expect: '200,301' }\n") end)
  test.contains(err.message, "app.yml:4:19: `health.expect`: kamal_proxy takes 2xx alone")
  complete(SMALL .. "health: { expect: '200, 204' }\n")
  complete(SMALL .. "health: { expect: '200,301' }\nproxy: { kind: caddy }\n")
end)

test.it("refuses what the chosen proxy cannot serve", function()
  local function refused(text)
    local err = test.raises("config.invalid", function() complete(text) end)
    local all = { err.message }
    for _, other in ipairs(err.also or {}) do all[#all + 1] = other.message end
    return table.concat(all, "\n")
  end
  local all = refused(SMALL .. "proxy: { kind: nginx, tls: true, host: 'a b', path_prefix: '/x{' }\n")
  test.contains(all, "`proxy.tls`: nginx cannot do that")
  test.contains(all, [[`proxy.host`: "a b" is no host name that nginx can serve]])
  test.contains(all, [[`proxy.path_prefix`: "/x{"]])
  test.contains(refused(SMALL .. "proxy: { kind: haproxy, https_port: 8443 }\n"),
    "`proxy.https_port`: haproxy cannot do that")
  complete(SMALL .. "proxy: { kind: haproxy, hosts: [shop.example, b-2.example], path_prefix: /api/v1.0 }\n")
  complete(SMALL .. "proxy: { kind: caddy, tls: true, host: '*.example' }\n")
end)
