-- The demo: a small app is shipped to this machine's Docker engine twice, the second time under steady load.
--
--   recipes/demo/run          builds everything it needs, starts it, runs this recipe and cleans up
--
-- Needs (recipes/demo/run provides them): a Docker engine, a registry with the images deployrun-demo:v1, :v2 and
-- deployrun-demo-proxy:1, a free port on the loopback address.

local deploy = require "deploy"

local function settings(run)
  return {
    service = "deployrun-demo",
    image = run.registry .. "/deployrun-demo",
    network = "deployrun-demo",
    hosts = { "localhost" },
    proxy = { kind = run.proxy, name = "deployrun-demo-proxy", image = run.registry .. "/deployrun-demo-proxy:1",
      bind = "127.0.0.1", http_port = run.port },
  }
end

-- The smallest whole deploy; recipes/prod.lua explains it.
local function ship(run, app, version)
  local host = deploy.localhost
  local function step(name, options)
    options.on = host
    return run:step(version .. ": " .. name, options)[host]
  end
  local seen = step("look around", { reads = true, run = function() return app:look(host, version) end })
  step("see to the proxy", {
    run = function() return app.proxy:boot(host, seen) end,
    undo = function() app.proxy:unboot(host, seen) end,
  })
  step("pull the image", {
    run = function() return app:pull(host, version, seen) end,
    undo = function(_, pulled) app:unpull(host, version, seen, pulled) end,
  })
  local started = step("start the container", {
    run = function() return app:start(host, version, seen) end,
    undo = function() app:unstart(host, version, seen) end,
  })
  step("wait until it is ready", { reads = true, run = function() return app:wait_ready(host, started) end })
  step("switch traffic", {
    run = function() return app:switch(host, seen, started) end,
    undo = function() app:unswitch(host, seen) end,
  })
  step("retire what it replaces", {
    run = function() return app:retire(host, seen, started) end,
    undo = function() app:unretire(host, seen, started) end,
  })
end

deploy.command "demo" {
  help = "Ship v1, then v2 under load, and count what was lost",
  params = {
    registry = { required = true, help = "address of the registry that has the images" },
    port = { type = "integer", required = true, help = "of the loopback address, for the proxy" },
    proxy = { choices = { "kamal_proxy", "caddy" }, default = "kamal_proxy", help = "what deployrun-demo-proxy:1 is" },
  },
  run = function(run)
    local app = deploy.app(settings(run))
    local url = ("http://127.0.0.1:%d/"):format(run.port)

    ship(run, app, "v1")

    -- 200 requests a second, half of them on new connections, from before the second deploy until after it.
    local observer = deploy.observe(url, { rate = 200 })
    deploy.sleep("1s")
    ship(run, app, "v2")
    deploy.sleep("1s")
    local seen = observer:stop()
    if deploy.planning() then return end

    run:log(("shipped %s: %s, then %s, on %s"):format(app.config.service, "v1", "v2", url))
    run:log(("%d requests, %d lost; longest gap %.0f ms (p50 %.1f ms, p99 %.1f ms)"):format(seen.requests,
      seen.failures, seen.longest_gap_ms, seen.p50_ms, seen.p99_ms))
    if seen.failures > 0 then deploy.fail(("%d requests were lost"):format(seen.failures)) end
  end,
}
