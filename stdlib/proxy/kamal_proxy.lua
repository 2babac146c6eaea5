--- kamal-proxy (v0.9.2), in a container of its own as Kamal runs it, told what to do by commands inside that container:
--- nothing listens for orders. Traffic goes to a container by its short ID, which the engine's name service resolves.
---
--- A `deploy` command returns when the last request to the old target has ended, so a drain goes on inside the proxy
--- whatever becomes of us; as long as one runs for a service, that service drains (proxy:internal/server/router.go).

local base = require "proxy.base"
local door = require "native.door"
local fail = require "native.fail"
local json = require "native.json"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Proxy = setmetatable({}, { __index = base.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "kamal-proxy"
M.IMAGE = "basecamp/kamal-proxy:v0.9.2"

-- ms between looks whether a long deploy has switched. A look takes several answers in turn; one that came before the
-- end of a short deploy over a long way would hold it up.
-- Written right after each switch (internal/server/router.go, installLoadBalancer) and read when it starts.
local STATE_FILE = "/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state"
local STATES = { [0] = "running", "paused", "stopped" }  -- internal/server/pause_controller.go

local SWITCH_LOOK = 500
local DEPLOY_TIMEOUT = "10s"  -- our own readiness check has passed when the proxy is asked

--- @param settings table   `proxy` of the app's settings
--- @param app AppConfig
--- @return Proxy
function M.new(settings, app)
  local name = settings.name or M.CONTAINER
  local self = base.init(settings, app, {
    container = name, image = settings.image or M.IMAGE, volumes = { name .. "-config" },
  })
  self._drained = {}  -- by host and service: a switch of ours has drained too
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

local function joined(list) return type(list) == "table" and table.concat(list, ",") or "" end

--- The services of its state file, as `parse_list` has them; nil for a shape that is not known.
--- @param bytes string
--- @return table<string, { host: string, path: string, target: string, state: string, tls: boolean,
---         container: string, port: integer }>?
function M.parse_state(bytes)
  local ok, saved = pcall(json.decode, bytes)
  if not ok or type(saved) ~= "table" then return nil end
  local services = {}
  for _, one in ipairs(saved) do
    local targets, options, pause = one.active_targets, one.options, one.pause_controller
    if type(one.name) ~= "string" or type(targets) ~= "table" or type(targets[1]) ~= "string"
      or type(options) ~= "table" or type(pause) ~= "table" or not STATES[pause.state] then
      return nil
    end
    local target = table.concat(targets, ",")
    local container, port = target:match("^(.+):(%d+)$")
    local hosts = joined(options.hosts)
    services[one.name] = { host = hosts == "" and "*" or hosts, path = joined(options.path_prefixes), target = target,
      state = STATES[pause.state], tls = options.tls_enabled == true, container = container or target,
      port = tonumber(port) or 80 }
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

local function words_of(argv) return table.concat(argv, " ", 1, math.min(3, #argv)) end

function Proxy:_run(host, argv, options) return self:_inside(host, words_of(argv), argv, options) end

--- Its services and their targets.
--- @async
function Proxy:routes(host)
  return M.parse_list(self:_run(host, { "kamal-proxy", "list" }, { reads = true }))
end

--- What it wrote down takes one answer; a command inside its container takes three and starts a process. It may be down
--- all the same. nil where that is not to be had.
function Proxy:_look_at_state(host)
  local bytes = try(host.docker.read, host.docker, self.container, STATE_FILE)
  local routes = bytes and M.parse_state(bytes)
  return routes and { state = "running", routes = routes, written = true }
end

--- @async
--- @param host Host
--- @return ProxyLook
function Proxy:look(host)
  -- A plan notes what commands say: that is what a spec can be told.
  return not door.is_kept() and self:_look_at_state(host) or self:ask(host)
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

--- Whether a `deploy` of the service runs inside the proxy.
function Proxy:_is_deploying(host, service)
  for _, exec in ipairs(host.docker:execs(self.container)) do
    if exec.running and exec.argv[2] == "deploy" and exec.argv[3] == service then return true end
  end
  return false
end

--- Runs a `deploy` to its end, and looks whether it was the last one: then nothing drains any more.
--- @return boolean drained
function Proxy:_deploy(host, service, argv)
  local result = host.docker:exec(self.container, argv, { code = false })
  local deploying
  side_by_side({
    function() result.code = result.code or host.docker:exec_code(result.exec) end,
    function() deploying = self:_is_deploying(host, service) end,
  }, "end of the deploy", function(fn) fn() end)
  self:_check(host, words_of(argv), result)
  return not deploying
end

--- Sends a service's traffic to a container; returns when new requests go there. Requests under way end where they are.
--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:switch(host, service, to)
  local id, key = to.container:sub(1, 12), host.name .. " " .. service
  local argv = M.deploy_command(service, ("%s:%d"):format(id, to.route.app_port), to.route)
  self._drained[key] = nil
  local deploy = task.spawn(function() self._drained[key] = self:_deploy(host, service, argv) end,
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
  if self._drained[host.name .. " " .. service] then return end
  local deadline = task.now() + text.parse_duration(route.drain_timeout) + 15000
  local pause = 100
  while self:_is_deploying(host, service) do
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
