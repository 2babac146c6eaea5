--- kamal-proxy (v0.9.2), in a container of its own as Kamal runs it, told what to do by commands inside that container:
--- nothing listens for orders. Traffic goes to a container by its short ID, which the engine's name service resolves.
---
--- A `deploy` command returns when the last request to the old target has ended, so a drain goes on inside the proxy
--- whatever becomes of us; as long as one runs for a service, that service drains (proxy:internal/server/router.go).

local base = require "proxy.base"
local door = require "native.door"
local fail = require "native.fail"
local json = require "native.json"
local prepared = require "proxy.prepared"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Proxy = setmetatable({}, { __index = base.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "kamal-proxy"
M.IMAGE = "basecamp/kamal-proxy:v0.9.2"

-- Its volume. Pages of services are here too: what it wrote down names them, and it does not start without them.
local HOME = "/home/kamal-proxy/.config/kamal-proxy"
-- Written right after each switch (internal/server/router.go, installLoadBalancer) and read when it starts.
local STATE_FILE = HOME .. "/kamal-proxy.state"
local STATES = { [0] = "running", "paused", "stopped" }  -- internal/server/pause_controller.go

-- ms between looks whether a long deploy has switched. A look takes several answers in turn; one that came before the
-- end of a short deploy over a long way would hold it up.
local SWITCH_LOOK = 500
local DEPLOY_TIMEOUT = "10s"  -- our own readiness check has passed when the proxy is asked
local DRAIN = "30s"           -- the proxy's own, of a pause and a stop
local MARGIN = 15000          -- ms beyond a drain's own time

--- @param settings table   `proxy` of the app's settings
--- @param app AppConfig
--- @return Proxy
function M.new(settings, app)
  local name = settings.name or M.CONTAINER
  local self = base.init(settings, app, {
    container = name, image = settings.image or M.IMAGE, volumes = { name .. "-config" },
  })
  self._drained = {}   -- by host and service: a switch of ours has drained too
  self._prepared = {}  -- by host and service: a command that the engine knows already
  self._held = {}      -- by host and service: a hold of ours has drained
  return setmetatable(self, Proxy)
end

--- What its container is made of.
function Proxy:spec()
  return self:_spec { volumes = { self.volumes[1] .. ":" .. HOME } }
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
---         container: string, port: integer, pages: string? }>?  pages: the folder of its own pages
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
      port = tonumber(port) or 80, pages = options.error_page_path ~= "" and options.error_page_path or nil }
  end
  return services
end

--- The words of a `deploy`.
--- @param service string
--- @param target string   container:port
--- @param route table
--- @param pages? string   the folder of its own pages, in its container
--- @return string[]
function M.deploy_command(service, target, route, pages)
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
  add("error-pages", pages)
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

M.DEPLOYS, M.HOLDS = { deploy = true }, { pause = true, stop = true }
local DEPLOYS, HOLDS = M.DEPLOYS, M.HOLDS

--- Whether one of some commands for a service runs inside a proxy.
local function runs(host, container, service, commands)
  for _, exec in ipairs(try(host.docker.execs, host.docker, container) or {}) do
    if exec.running and commands[exec.argv[2]] and exec.argv[3] == service then return true end
  end
  return false
end

--- Waits until no such command runs for a service: a proxy goes on with what nobody waits for. Raises `proxy.drain`.
--- @async
--- @param host Host
--- @param container string  the proxy's
--- @param service string
--- @param commands table<string, true>  DEPLOYS or HOLDS
--- @param limit number  ms
function M.await_end(host, container, service, commands, limit)
  local deadline, pause = task.now() + limit, 100
  while runs(host, container, service, commands) do
    if task.now() > deadline then
      fail.raise("proxy.drain", ("%s: requests are still under way"):format(service), { host = host.name })
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, 1000)
  end
end

function Proxy:_runs(host, service, commands) return runs(host, self.container, service, commands) end

local function key_of(host, service) return host.name .. " " .. service end

local function pages_of(service) return ("%s/deployrun/%s"):format(HOME, service) end

-- Its template of an answer of 503. Without an argument it is none of a maintenance (internal/server/load_balancer.go).
local TEMPLATE = "{{if .}}%s{{else}}<h1>503 Service Unavailable</h1>{{end}}"

function Proxy:_page()
  local page = self:_answer().page
  return page and TEMPLATE:gsub("%%s", function() return page end) or nil
end

function Proxy:_deploy_argv(service, to)
  local target = ("%s:%d"):format(to.container:sub(1, 12), to.route.app_port)
  return M.deploy_command(service, target, to.route, self:_page() and pages_of(service))
end

--- Sees to it that the app's page is where a `deploy` reads it; it stays there. Returns whether it was.
function Proxy:_bring_page(host, service)
  local page = self:_page()
  if not page then return true end
  if try(host.docker.read, host.docker, self.container, pages_of(service) .. "/503.html") == page then return true end
  host.docker:put_archive(self.container, HOME, {
    { name = "deployrun", directory = true }, { name = "deployrun/" .. service, directory = true },
    { name = ("deployrun/%s/503.html"):format(service), bytes = page },
  })
  return false
end

--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:prepare_switch(host, service, to)
  self._prepared[key_of(host, service)] = prepared.command(host.docker, self.container,
    self:_deploy_argv(service, to))
end

--- Runs a `deploy` to its end, and looks whether it was the last one: then nothing drains any more.
--- @return boolean drained
function Proxy:_deploy(host, service, argv)
  local key = key_of(host, service)
  local known = self._prepared[key]
  self._prepared[key] = nil
  local result = prepared.run(host.docker, self.container, argv, known, { code = false })
  local deploying
  side_by_side({
    function() result.code = result.code or host.docker:exec_code(result.exec) end,
    function() deploying = self:_runs(host, service, DEPLOYS) end,
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
  local id, key = to.container:sub(1, 12), key_of(host, service)
  local argv = self:_deploy_argv(service, to)
  self:_bring_page(host, service)
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
  if self._drained[key_of(host, service)] then return end
  self:_await_end(host, service, DEPLOYS, text.parse_duration(route.drain_timeout) + MARGIN)
end

function Proxy:_await_end(host, service, commands, limit)
  M.await_end(host, self.container, service, commands, limit)
end

--- A hold returns at once where an earlier one, whose process may be gone, still drains (internal/server/target.go).
function Proxy:_hold(host, service, argv, drain)
  local key = key_of(host, service)
  self._held[key] = nil
  self:_run(host, argv)
  door.wait(host.name, ("until no request to %s is under way"):format(service), nil, function()
    self:_await_end(host, service, HOLDS, text.parse_duration(drain) + MARGIN)
  end)
  self._held[key] = true
end

--- Requests wait, none fails, up to `wait`; returns when those under way have ended.
--- @async
--- @param host Host
--- @param service string
--- @param options? { wait?: string, drain?: string }
function Proxy:pause(host, service, options)
  local drain = options and options.drain or DRAIN
  self:_hold(host, service, { "kamal-proxy", "pause", service,
    "--max-pause=" .. (options and options.wait or "30s"), "--drain-timeout=" .. drain }, drain)
end

--- Ends a pause or a maintenance. A hold that was called off may still drain, and what drains answers 503 to every
--- request: traffic goes to it anew (`to`: what it goes to), or that end is waited for.
--- @async
--- @param host Host
--- @param service string
--- @param to? { container: string, route: table }
function Proxy:resume(host, service, to)
  local key = key_of(host, service)
  if not self._held[key] and not door.is_kept() and self:_runs(host, service, HOLDS) then
    if to then
      self:_bring_page(host, service)
      self:_run(host, self:_deploy_argv(service, to))
    else
      self:_await_end(host, service, HOLDS, text.parse_duration(DRAIN) + MARGIN)
    end
  end
  self._held[key] = nil
  self:_run(host, { "kamal-proxy", "resume", service })
end

--- Makes the app's page the one that a service answers with, where it is not yet: pages come with a `deploy`, here of
--- what has the traffic already.
function Proxy:_take_page(host, service, to)
  if not (to and self:_page()) then return end
  local same, look = self:_bring_page(host, service), self:_look_at_state(host)
  local now = look and look.routes[service]
  if same and now and now.pages == pages_of(service) then return end
  local argv = self:_deploy_argv(service, to)
  local ok, err = pcall(self._run, self, host, argv)
  if ok then return end
  if fail.normal(err).kind ~= "proxy.command" then error(err, 0) end
  -- It does not answer its health check, and in a moment gets no requests anyway.
  argv[#argv + 1] = "--force"
  self:_run(host, argv)
end

--- Answers 503 with a page or a message to everything but the health check; returns when requests under way have ended.
--- @async
--- @param host Host
--- @param service string
--- @param message? string
--- @param to? { container: string, route: table }  what has the traffic: without it a page comes with the next switch
function Proxy:maintenance(host, service, message, to)
  self:_take_page(host, service, to)
  local argv = { "kamal-proxy", "stop", service, "--message=" .. self:_answer(message).message }
  self:_hold(host, service, argv, DRAIN)
end

door.guard("proxy", Proxy, { reads = { "routes" } })

return M
