local config = require "proxy.haproxy_config"
local files = require "native.files"
local haproxy = require "proxy.haproxy"
local process = require "native.process"
local test = require "test"

-- As 2.6 answers `show servers state; show map …; show map …`.
local SAID = [[
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight ]] ..
  [[srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state ]] ..
  [[bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr ]] ..
  [[srv_agent_addr srv_agent_port
3 shop-web 1 s12 172.18.0.3 2 0 1 1 1 1 0 2 0 0 0 0 0a1b2c3d4e5f 18081 - 0 0 - - 0

0x560ff0143490 shop-web back at 9
0x560ff01434a0 blog

]] .. "\n"

local TARGET = { container = "0a1b2c3d4e5f", port = 3000 }

local function route(change)
  local out = { hosts = {}, app_port = 3000, drain_timeout = "30s" }
  for key, value in pairs(change or {}) do out[key] = value end
  return out
end

test.it("takes answers apart, empty ones too", function()
  local replies = config.replies(SAID)
  test.equal(#replies[1], 3)
  test.equal(config.servers(replies[1]), {
    ["shop-web"] = { server = "s12", address = "172.18.0.3", container = "0a1b2c3d4e5f", port = 18081 } })
  test.equal(config.map(replies[2]), { ["shop-web"] = "back at 9", blog = "" })
  test.equal(config.map(replies[3]), {})
  test.equal(config.servers {}, {})
end)

test.it("gives a server another name for another shape alone, not for another target", function()
  local one = config.service("shop-web", TARGET, route())
  local other = config.service("shop-web", { container = "112233445566", port = 80 }, route())
  test.equal(one.server, other.server)
  test.contains(one.backend, ("server %s 0a1b2c3d4e5f:3000 resolvers engine"):format(one.server))
  for _, change in ipairs { { hosts = { "shop.example" } }, { path_prefix = "/api" }, { response_timeout = "5s" },
      { forward_headers = false } } do
    test.equal(config.service("shop-web", TARGET, route(change)).server == one.server, false)
  end
  test.contains(config.service("shop-web", TARGET, route { response_timeout = "5s" }).backend, "timeout server 5000ms")
  test.contains(config.service("shop-web", TARGET, route { forward_headers = false }).backend,
    "del-header X-Forwarded-For")
end)

test.it("routes by name and path, each ending with / so that a prefix ends where a part of the path does", function()
  test.equal(config.routes("shop-web", route()), { "/ shop-web" })
  test.equal(config.routes("shop-web", route { hosts = { "Shop.example", "b.example" }, path_prefix = "/api/" }),
    { "shop.example/api/ shop-web", "b.example/api/ shop-web" })
end)

test.it("says a message as one word on one line", function()
  test.equal(config.escape("back at 9; \\o/\nadd <x"), [[back\ at\ 9\;\ \\o/\ add\ \<x]])
end)

test.it("says what it cannot do before anybody counts on it", function()
  local proxy = haproxy.new({ kind = "haproxy", http_port = 80 }, { network = "kamal" })
  test.raises("proxy.unsupported", function() proxy:needs "tls" end)
  proxy:needs "pause"
  proxy:needs "maintenance"
end)

--- A server whose folder is real, with a HAProxy that does what it is told: it has the files of its last reload and
--- what was said to it since. `changed` is called once each change is made.
local function server(changed)
  local one = { name = "h1", docker = {} }
  local home = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local folder = home .. "/.deployrun/haproxy/"
  function one.exec(_, argv, given)
    local result = process.run(argv, { env = { HOME = home } })
    if not (given and given.reads) then changed() end
    return result
  end
  function one.write(_, path, bytes)
    files.write(path, bytes, { parents = true })
    changed()
  end
  function one.reload()
    local made = files.read(folder .. "services/shop-web.cfg")
    local name, container, port = made:match("\n  server (%S+) (%w+):(%d+) ")
    one.runs = { server = name, container = container, port = port, routes = files.read(folder .. "routes.map") }
  end
  function one.docker.kill() one.reload() changed() end
  function one.docker.inspect() return { networks = { kamal = { ip = "10.1.1.1" } } } end
  function one.docker.exec(_, _, argv, given)
    local said = argv[5] or ""
    if said:find("^set server") then
      one.runs.container, one.runs.port = said:match("fqdn (%w+);.* port (%d+)$")
    end
    local out = "1\n# be_id be_name srv_id srv_name srv_addr srv_fqdn srv_port\n"
    if one.runs then
      out = out .. ("3 shop-web 1 %s 10.1.1.1 %s %s\n"):format(one.runs.server, one.runs.container, one.runs.port)
    end
    if not (given and given.reads) then changed() end
    return { code = 0, stdout = said:find("^show") and out .. "\n\n\n" or "\n", stderr = "" }
  end
  function one.close() files.remove(home, { recursive = true }) end
  return one
end

test.it("a switch that is cut off anywhere is taken back, for what runs and for its next start", function()
  local function to(letter, name)
    return { container = letter:rep(64), route = route { hosts = { name } } }
  end
  local old, new, cut, whole = to("a", "old.example"), to("b", "new.example"), 0
  repeat
    cut = cut + 1
    local left = 0
    local host = server(function()
      left = left - 1
      if left == 0 then error({ kind = "cancelled", message = "interrupted" }, 0) end
    end)
    local proxy = haproxy.new({ kind = "haproxy", http_port = 80 }, { network = "kamal" })
    proxy:_prepare(host)
    proxy:switch(host, "shop-web", old)
    host.reload()
    local before = host.runs
    host.reload()
    left = cut
    whole = pcall(proxy.switch, proxy, host, "shop-web", new)
    left = 0
    -- As an undo does (deploy/app/release.lua).
    if proxy:target(host, "shop-web").container ~= ("a"):rep(12) then proxy:switch(host, "shop-web", old) end
    test.equal({ cut, host.runs }, { cut, before })
    host.reload()
    test.equal({ cut, host.runs }, { cut, before })
    host.close()
  until whole
  test.ok(cut > 6)
end)
