local kamal_proxy = require "proxy.kamal_proxy"
local test = require "test"

-- As v0.9.2 prints it, colours included.
local LIST = "\27[3;94mService\27[0m   \27[3;94mHost\27[0m              \27[3;94mPath\27[0m  "
  .. "\27[3;94mTarget\27[0m           \27[3;94mState\27[0m    \27[3;94mTLS\27[0m  \n"
  .. "\27[1;34mshop-web\27[0m  \27[mshop.example.com\27[0m  \27[m/\27[0m     \27[m0a1b2c3d4e5f:3000\27[0m  "
  .. "\27[mrunning\27[0m  \27[myes\27[0m  \n"
  .. "\27[1;34mblog\27[0m      \27[m*\27[0m                 \27[m/\27[0m     \27[mblog:80\27[0m            "
  .. "\27[mpaused\27[0m   \27[mno\27[0m   \n"

local function route(change)
  local out = { hosts = {}, app_port = 80, tls = false, drain_timeout = "30s", health = { path = "/up", port = 80 } }
  for key, value in pairs(change or {}) do out[key] = value end
  return out
end

test.it("reads its list", function()
  local services = kamal_proxy.parse_list(LIST)
  test.equal(services["shop-web"], { host = "shop.example.com", path = "/", target = "0a1b2c3d4e5f:3000",
    state = "running", tls = true, container = "0a1b2c3d4e5f", port = 3000 })
  test.equal(services.blog.host, "*")
  test.equal(services.blog.state, "paused")
  test.equal(services.blog.tls, false)
  test.equal(services.Service, nil)
end)

test.it("reads an empty list", function()
  test.equal(kamal_proxy.parse_list(LIST:match("^[^\n]*\n")), {})
  test.equal(kamal_proxy.parse_list(""), {})
end)

local STATE = [==[
[{"name":"shop-web","options":{"hosts":["shop.example.com"],"path_prefixes":["/"],"tls_enabled":true},
  "active_targets":["0a1b2c3d4e5f:3000"],"active_readers":null,"rollout_targets":null,
  "pause_controller":{"state":0,"stop_message":"","fail_after":0}},
 {"name":"blog","options":{"hosts":[""],"path_prefixes":null,"tls_enabled":false},"active_targets":["0f:80"],
  "pause_controller":{"state":1}}]
]==]

test.it("reads its state file as its list", function()
  local services = kamal_proxy.parse_state(STATE)
  test.equal(services["shop-web"], { host = "shop.example.com", path = "/", target = "0a1b2c3d4e5f:3000",
    state = "running", tls = true, container = "0a1b2c3d4e5f", port = 3000 })
  test.equal(services.blog.host, "*")
  test.equal(services.blog.state, "paused")
  test.equal(kamal_proxy.parse_state("[]"), {})
end)

test.it("does not guess what another version's state file means", function()
  for _, text in ipairs { "", "[{", "null", '[{"name":"shop-web","active_target":"0a:80"}]',
    (STATE:gsub('"state":1', '"state":7')), (STATE:gsub('"active_targets":%["0f:80"%]', '"active_targets":[]')) } do
    test.equal(kamal_proxy.parse_state(text), nil)
  end
end)

test.it("says a deploy in words that no shell sees", function()
  test.equal(kamal_proxy.deploy_command("shop-web", "0a1b2c3d4e5f:80", route()), {
    "kamal-proxy", "deploy", "shop-web", "--target=0a1b2c3d4e5f:80", "--deploy-timeout=10s", "--drain-timeout=30s",
    "--health-check-interval=100ms", "--health-check-path=/up",
  })
end)

test.it("passes on names, certificates and time limits", function()
  local words = kamal_proxy.deploy_command("shop-web", "x:3000", route { hosts = { "a.example", "b.example" },
    app_port = 3000, tls = true, response_timeout = "60s", forward_headers = false, path_prefix = "/api" })
  local argv = table.concat(words, " ")
  for _, part in ipairs { "--host=a.example --host=b.example", "--tls=true", "--target-timeout=60s",
    "--forward-headers=false", "--path-prefix=/api", "--health-check-port=80" } do
    test.contains(argv, part)
  end
end)
