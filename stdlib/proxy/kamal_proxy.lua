--- kamal-proxy (v0.9.2), in a container of its own as Kamal runs it, told what to do by commands inside that container:
--- nothing listens for orders. Traffic goes to a container by its short ID, which the engine's name service resolves.
---
--- A `deploy` command returns when the last request to the old target has ended, so a drain goes on inside the proxy
--- whatever becomes of us; as long as one runs for a service, that service drains (proxy:internal/server/router.go).

local base = require "proxy.base"
local door = require "native.door"
local fail = require "native.fail"
local task = require "native.task"
local text = require "native.text"

local M = {}
local Proxy = setmetatable({}, { __index = base.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "kamal-proxy"
M.IMAGE = "basecamp/kamal-proxy:v0.9.2"

local SWITCH_LOOK = 200  -- ms between looks whether a long deploy has switched
local DEPLOY_TIMEOUT = "10s"  -- our own readiness check has passed when the proxy is asked

--- @param settings table   `proxy` of the app's settings
--- @param app AppConfig
--- @return Proxy
function M.new(settings, app)
  local name = settings.name or M.CONTAINER
  local self = base.init(settings, app, {
    container = name, image = settings.image or M.IMAGE, volumes = { name .. "-config" },
  })
  return setmetatable(self, Proxy)
end

--- What its container is made of.
function Proxy:spec()
  return self:_spec { volumes = { self.volumes[1] .. ":/home/kamal-proxy/.config/kamal-proxy" } }
end

--- Takes the colours out of `kamal-proxy list`; it writes them into pipes too.
local function plain(line) return (line:gsub("\27%[[%d;]*m", "")) end

--- The services of `kamal-proxy list`: cells are padded to the width of their column, none holds a space.
--- @param output string
--- @return table<string, { host: string, path: string, target: string, state: string, tls: boolean,
---         container: string, port: integer }>
function M.parse_list(output)
  local services, header = {}, true
  for line in output:gmatch("[^\r\n]+") do
    local cells = {}
    for cell in plain(line):gmatch("%S+") do cells[#cells + 1] = cell end
    if not header and #cells >= 6 then
      local container, port = cells[4]:match("^(.+):(%d+)$")
      services[cells[1]] = { host = cells[2], path = cells[3], target = cells[4], state = cells[5],
        tls = cells[6] == "yes", container = container or cells[4], port = tonumber(port) or 80 }
    end
    header = false
  end
  return services
end

--- The words of a `deploy`.
--- @param service string
--- @param target string   container:port
--- @param route table
--- @return string[]
function M.deploy_command(service, target, route)
  local argv = { "kamal-proxy", "deploy", service, "--target=" .. target, "--deploy-timeout=" .. DEPLOY_TIMEOUT,
    "--drain-timeout=" .. route.drain_timeout, "--health-check-interval=100ms" }
  local function add(flag, value)
    if value ~= nil then argv[#argv + 1] = ("--%s=%s"):format(flag, tostring(value)) end
  end
  add("health-check-path", route.health.path)
  if route.health.port ~= route.app_port then add("health-check-port", route.health.port) end
  add("health-check-host", route.health.host)
  for _, host in ipairs(route.hosts) do add("host", host) end
  if route.tls then add("tls", true) end
  add("path-prefix", route.path_prefix)
  add("target-timeout", route.response_timeout)
  add("forward-headers", route.forward_headers)
  return argv
end

function Proxy:_run(host, argv, options)
  local result = host.docker:exec(self.container, argv, options)
  if result.code ~= 0 then
    local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
    fail.raise("proxy.command", ("%s: %s"):format(table.concat(argv, " ", 1, math.min(3, #argv)), said),
      { host = host.name, code = result.code, stderr = said })
  end
  return result.stdout
end

--- Its services and their targets.
--- @async
function Proxy:routes(host)
  return M.parse_list(self:_run(host, { "kamal-proxy", "list" }, { reads = true }))
end

--- Waits until it takes commands: it listens for them a moment after its start.
function Proxy:_await_ready(host)
  door.wait(host.name, ("until %s takes commands"):format(self.container), nil, function()
    local deadline = task.now() + 10000
    while true do
      local ok, err = pcall(self.routes, self, host)
      if ok then return end
      if fail.normal(err).kind ~= "proxy.command" or task.now() > deadline then error(err, 0) end
      task.sleep(50)
    end
  end)
end

--- Sends a service's traffic to a container; returns when new requests go there. Requests under way end where they are.
--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:switch(host, service, to)
  local id = to.container:sub(1, 12)
  local argv = M.deploy_command(service, ("%s:%d"):format(id, to.route.app_port), to.route)
  local deploy = task.spawn(function() return self:_run(host, argv) end,
    { name = "deploy of " .. service, observed = true })
  local switched = false
  -- A command that takes longer drains: it goes on in the proxy when nobody listens to it; drain() waits for its end.
  local watcher = task.spawn(function()
    repeat
      task.sleep(SWITCH_LOOK)
      local now = self:target(host, service)
      switched = now ~= nil and now.container == id
    until switched
    deploy:cancel("it drains")
  end, { name = "switch of " .. service, observed = true })
  local ok, err = pcall(task.join, deploy)
  watcher:cancel("not needed any more")
  pcall(task.join, watcher)
  if not ok and not switched then error(err, 0) end
end

--- Forgets a service, if it knows it.
--- @async
function Proxy:remove(host, service)
  if self:routes(host)[service] then self:_run(host, { "kamal-proxy", "remove", service }) end
end

--- Waits until no `deploy` of the service runs inside the proxy any more, so that no request is under way at a
--- container which it replaced. The proxy itself ends a drain after the drain timeout.
--- @async
--- @param host Host
--- @param service string
--- @param _ids string[]   containers that traffic has left
--- @param route table
function Proxy:drain(host, service, _ids, route)
  local words = ("until no request to %s is under way at what it replaces"):format(service)
  door.wait(host.name, words, nil, function() self:_drain(host, service, route) end)
end

function Proxy:_drain(host, service, route)
  local deadline = task.now() + text.parse_duration(route.drain_timeout) + 15000
  local pause = 100
  while true do
    local busy = false
    for _, exec in ipairs(host.docker:execs(self.container)) do
      if exec.running and exec.argv[2] == "deploy" and exec.argv[3] == service then busy = true end
    end
    if not busy then return end
    if task.now() > deadline then
      fail.raise("proxy.drain", ("%s: requests are still under way"):format(service), { host = host.name })
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, 1000)
  end
end

--- Requests wait, none fails, up to `wait`.
--- @async
--- @param host Host
--- @param service string
--- @param options? { wait?: string, drain?: string }
function Proxy:pause(host, service, options)
  options = options or {}
  self:_run(host, { "kamal-proxy", "pause", service, "--max-pause=" .. (options.wait or "30s"),
    "--drain-timeout=" .. (options.drain or "30s") })
end

--- Ends a pause or a maintenance.
--- @async
function Proxy:resume(host, service)
  self:_run(host, { "kamal-proxy", "resume", service })
end

--- Answers 503 with a message to everything but the health check.
--- @async
function Proxy:maintenance(host, service, message)
  self:_run(host, { "kamal-proxy", "stop", service, "--message=" .. (message or "") })
end

door.guard("proxy", Proxy, { reads = { "routes" } })

return M
