local config = require "proxy.haproxy_config"
local haproxy = require "proxy.haproxy"
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
