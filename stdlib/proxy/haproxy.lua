--- HAProxy (2.4 or later) in a container of its own, told what to do while it runs: a switch is a command at its
--- administration's port, which listens on the container's own loopback and is asked through `docker exec`. Files say
--- the same for its next start. Only another shape of a service (its names, its prefix, its limits) is a reload; its
--- master process keeps the listening socket through that.
---
--- What runs is the truth, and changes first; the files follow. On the server, mounted read-only at /deployrun:
---   .deployrun/haproxy/haproxy.cfg, hold.lua   what all services share
---   .deployrun/haproxy/services/<service>.cfg  a backend with one server, the target
---   .deployrun/haproxy/routes.map              names and paths → service
---   .deployrun/haproxy/maintenance.map, paused.map  services that answer 503, services whose requests wait
---   .deployrun/haproxy/retry.map               when clients of those that answer 503 may come again
---   .deployrun/haproxy/pages/<service>.html    what they answer, where they have a page

local config = require "proxy.haproxy_config"
local door = require "native.door"
local fail = require "native.fail"
local folder = require "proxy.folder"
local text = require "native.text"

local M = {}
local Proxy = setmetatable({}, { __index = folder.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "haproxy"
M.IMAGE = "haproxy:lts"

local READY = 10000  -- ms until it has started, or a reload has come true
local MAINTENANCE, PAUSED = "/deployrun/maintenance.map", "/deployrun/paused.map"
local RETRY = "/deployrun/retry.map"
local LOOK = ("show servers state; show map %s; show map %s"):format(MAINTENANCE, PAUSED)

-- Lines of shell. In the container: says $1 to the administration and prints the answer. Its images have bash, or nc.
local ASK = ([[
if command -v bash >/dev/null; then
  exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d || exit 1
    printf "%%s\n" "$0" >&3
    while IFS= read -r line <&3; do printf "%%s\n" "$line"; done' "$1"
fi
printf '%%s\n' "$1" | nc 127.0.0.1 %d]]):format(config.ADMIN_PORT, config.ADMIN_PORT)
-- In the folder; $1: a service, $2 and following: lines of it in a map. Several services change the same maps.
local LINES = [[
exec 9>>lock && flock 9 || exit 1
lines() {
  map=$1 service=$2
  shift 2
  { awk -v s="$service" -v first="$key" 'first ? $1 != s : $2 != s' "$map" 2>/dev/null
    for line; do printf '%s\n' "$line"; done; } >"$map.next" && mv -f "$map.next" "$map"
}
]]
local MARK = LINES .. [[
service=$1 key=1
shift
while [ $# -gt 0 ]; do lines "$1" "$service" ${2:+"$2"}; shift 2; done]]  -- a map and the service's line, and so on
local MAKE = "mkdir -p services next pages && touch routes.map maintenance.map paused.map retry.map"
local REMOVE_PAGE = 'rm -f pages/"$1".html'
local PLACE = LINES .. [[
service=$1
shift
mv -f "next/$service.cfg" "services/$service.cfg"  # first: it tells which shape the others may have
key= lines routes.map "$service" "$@"
mv -f "next/$service.base" haproxy.cfg]]
local FORGET_NEXT = 'rm -f next/"$1".*'
local REMOVE = LINES .. [[
rm -f "services/$1.cfg" "next/$1".*
key= lines routes.map "$1"
key=1 lines maintenance.map "$1"
key=1 lines paused.map "$1"
key=1 lines retry.map "$1"
rm -f "pages/$1.html"]]

--- @param settings table   `proxy` of the app's settings
--- @param app AppConfig
--- @return Proxy
function M.new(settings, app)
  return setmetatable(folder.init(settings, app, {
    container = settings.name or M.CONTAINER, image = settings.image or M.IMAGE, volumes = {},
  }), Proxy)
end

--- What its container is made of.
function Proxy:spec(host)
  return self:_spec {
    volumes = { self:_path(host) .. ":/deployrun:ro" },
    cmd = { "haproxy", "-W", "-db", "-f", "/deployrun/haproxy.cfg", "-f", "/deployrun/services" },
  }
end

--- Says commands to what runs; the answer of each.
function Proxy:_ask(host, commands, options)
  local argv = { "sh", "-c", ASK, "sh", commands }
  return config.replies(self:_inside(host, "haproxy, " .. commands:match("^%w+ ?%w*"), argv, options))
end

function Proxy:_prepare(host)
  self:_at_folder(host, MAKE, {})
  self:_write(host, "haproxy.cfg", config.BASE)
  self:_write(host, "hold.lua", config.HOLD)
end

function Proxy:_await_servers(host, check, problem)
  local words = ("until %s runs with that"):format(self.container)
  self:_await(host, words, READY, problem, function() return check(self:_servers(host)) end)
end

function Proxy:_await_ready(host)
  self:_await_servers(host, function() return true end, { kind = "proxy.boot", message = "haproxy does not answer" })
end

function Proxy:_servers(host)
  return config.servers(self:_ask(host, "show servers state", { reads = true })[1] or {})
end

function Proxy:look(host)
  return self:_with_folder(host, folder.Proxy.look(self, host))
end

--- Every service and its target, as what runs says.
--- @async
function Proxy:routes(host)
  local replies = self:_ask(host, LOOK, { reads = true })
  local routes = config.servers(replies[1] or {})
  local down, held = config.map(replies[2] or {}), config.map(replies[3] or {})
  for service, found in pairs(routes) do
    found.state = down[service] and "maintenance" or held[service] and "paused" or "running"
    found.target = ("%s:%d"):format(found.container, found.port)
  end
  return routes
end

--- Reads the files again; returns once what runs has a service as it is said to be.
function Proxy:_reload(host, service, server)
  host.docker:kill(self.container, "USR2")
  self:_await_servers(host, function(found) return (found[service] or {}).server == server end,
    { kind = "proxy.command", message = "haproxy did not take its new configuration" })
end

--- Another shape of a service: its files, found without fault, then a reload.
function Proxy:_reshape(host, service, made)
  local name = "next/" .. service
  local inside = "/deployrun/" .. name
  -- Maps and calls that an earlier deployrun did not have; what it wrote goes on with these.
  self:_at_folder(host, MAKE, {})
  self:_write(host, "hold.lua", config.HOLD)
  self:_write(host, name .. ".cfg", made.backend)
  self:_write(host, name .. ".base", config.BASE)
  self:_inside(host, "haproxy, check of the configuration",
    { "haproxy", "-c", "-q", "-f", inside .. ".base", "-f", inside .. ".cfg" })
  self:_at_folder(host, PLACE, { service, unpack(made.routes) })
  self:_reload(host, service, made.server)
end

--- Another target while it runs. Returns what it said to that.
function Proxy:_retarget(host, service, server, target)
  local place = ("set server %s/%s "):format(service, server)
  local commands = ("%sfqdn %s; %saddr %s port %d"):format(place, target.container, place, target.address, target.port)
  local replies = self:_ask(host, commands)
  local said = {}
  for index, lines in ipairs(replies) do said[index] = text.clean(table.concat(lines, " ")) end
  return table.concat(said, " ")
end

function Proxy:_target_of(host, to)
  local attached = host.docker:inspect(to.container).networks[self.app.network]
  local container = to.container:sub(1, 12)
  if not attached or attached.ip == "" then
    fail.raise("proxy.command", ("%s has no address in network %s"):format(container, self.app.network),
      { host = host.name })
  end
  return { container = container, address = attached.ip, port = to.route.app_port }
end

--- Sends a service's traffic to a container; returns when new requests go there. Requests under way end where they are.
--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:switch(host, service, to)
  local target = self:_target_of(host, to)
  local made = config.service(service, target, to.route)
  local now = self:_servers(host)[service]
  -- In its former shape too: a process that a reload ends may still read the beginning of a request.
  local said = now and self:_retarget(host, service, now.server, target)
  -- A change of the shape that was cut off has left the files of the other one, or is about to be read.
  local written = self:_read(host, "services/" .. service .. ".cfg"):match("\n  server (%S+) ")
  if not now or now.server ~= made.server or written and written ~= made.server then
    self:_reshape(host, service, made)
    said = self:_retarget(host, service, made.server, target)
  end
  self:_await_servers(host, function(servers)
    local found = servers[service]
    return found ~= nil and found.container == target.container and found.port == target.port
      and found.address == target.address
  end, { kind = "proxy.command", message = "haproxy, set server: " .. said })
  self:_write(host, "services/" .. service .. ".cfg", made.backend)
end

--- Waits until no request is under way at containers that traffic has left.
--- @async
function Proxy:drain(host, service, ids, route)
  folder.Proxy.drain(self, host, service, ids, route)
  self:_at_folder(host, FORGET_NEXT, { service })
end

--- Forgets a service; a repetition does the rest of an interrupted one.
--- @async
function Proxy:remove(host, service)
  self:_at_folder(host, REMOVE, { service })
  if self:_servers(host)[service] then self:_reload(host, service, nil) end
end

--- A service's lines in some of the maps: in what runs, then for its next start. false: none.
--- @param host Host
--- @param service string
--- @param marks { [1]: string, [2]: string|false }[]  a map, and what it says of the service
function Proxy:_mark(host, service, marks)
  local commands, words = {}, { service }
  for _, mark in ipairs(marks) do
    local map, value = mark[1], mark[2]
    commands[#commands + 1] = ("del map %s %s"):format(map, service)
    if value then commands[#commands + 1] = ("add map %s %s %s"):format(map, service, config.escape(value)) end
    words[#words + 1] = map:match("[^/]+$")
    words[#words + 1] = value and ("%s %s"):format(service, (value:gsub("%c", " "))) or ""
  end
  self:_ask(host, table.concat(commands, "; "))
  self:_at_folder(host, MARK, words)
end

--- Requests wait, none fails, each up to `wait`; returns when none is under way any more, or after `drain`.
--- @async
--- @param host Host
--- @param service string
--- @param options? { wait?: string, drain?: string }
function Proxy:pause(host, service, options)
  options = options or {}
  self:_mark(host, service, { { PAUSED, ("%d"):format(text.parse_duration(options.wait or "30s")) } })
  local target = self:target(host, service)
  if target then self:_await_idle(host, service, { target.container }, target.port, options.drain or "30s") end
end

--- Answers 503 with a page or a message to everything.
--- @async
function Proxy:maintenance(host, service, message)
  local answer = self:_answer(message)
  if answer.page then self:_write(host, ("pages/%s.html"):format(service), answer.page) end
  local retry = ("%d%s"):format(answer.retry_after, answer.page and ".html" or "")
  self:_mark(host, service, { { RETRY, retry }, { MAINTENANCE, answer.message } })
end

--- Ends a pause or a maintenance.
--- @async
function Proxy:resume(host, service)
  self:_mark(host, service, { { MAINTENANCE, false }, { PAUSED, false }, { RETRY, false } })
  if self.app.maintenance and self.app.maintenance.page then self:_at_folder(host, REMOVE_PAGE, { service }) end
end

door.guard("proxy", Proxy, { reads = { "routes" } })

return M
