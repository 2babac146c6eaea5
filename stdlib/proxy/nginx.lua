--- nginx (1.18 or later) in a container of its own. A service is a file; switching is replacing it and telling nginx to
--- read again: new workers take what comes, old ones end what they have begun. A configuration is tested before it is
--- put in place. Before 1.27.4 a reload also closes the connections that clients keep open without a request, and a
--- client that sends one just then has to send it again, as HTTP clients do (RFC 9112 §9.5); later versions leave them.
---
--- On the server, mounted read-only at /deployrun:
---   .deployrun/nginx/nginx.conf          what all services share
---   .deployrun/nginx/services/<n>-<service>.conf  a service: its names, its target, whether it is down for maintenance
---   .deployrun/nginx/next/               what is tested before it is put in place

local config = require "proxy.nginx_config"
local door = require "native.door"
local folder = require "proxy.folder"
local task = require "native.task"
local text = require "native.text"

local M = {}
local Proxy = setmetatable({}, { __index = folder.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "nginx"
M.IMAGE = "nginx:stable"

local LATE_REQUEST = 15000  -- ms: client_header_timeout
local READY = 10000  -- ms until it has started, or its new workers have
local SERVICES = "/deployrun/services/*.conf"

-- Lines of shell, run in the folder; $1: the service.
local LIST = [[
for f in services/*.conf; do [ ! -f "$f" ] || head -n 1 "$f" | sed "s|^|$f |"; done]]
-- $2: the name of its file. What is there gets that name first, so that there is one file of a service at any time.
local PLACE = [[
for f in services/*-"$1".conf; do [ ! -f "$f" ] || [ "$f" = "services/$2" ] || mv -f "$f" "services/$2"; done
mv -f "next/$1.conf" "services/$2"
rm -f "next/$1.test"]]
local FORGET_NEXT = 'rm -f next/"$1".*'
local REMOVE = 'rm -f services/*-"$1".conf next/"$1".*'

-- Lines of shell, run in the container.
local FACTS = [[
nginx -v 2>&1
while read -r word value; do [ "$word" != nameserver ] || echo "$word $value"; done </etc/resolv.conf]]
local PROCESSES = [[
for d in /proc/[0-9]*; do
  title=
  { IFS= read -r title <"$d/cmdline"; } 2>/dev/null
  case "$title" in nginx:*) echo "${d#/proc/} $title" ;; esac
done
true]]

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
    cmd = { "nginx", "-c", "/deployrun/nginx.conf", "-g", "daemon off;" },
  }
end

function Proxy:_prepare(host)
  self:_at_folder(host, "mkdir -p services next", {})
  -- Which version it is and whom it can ask for names shows when it runs.
  self:_write(host, "nginx.conf", config.base(config.UNKNOWN, SERVICES))
end

--- IDs of the processes that take requests.
--- @param listing string  lines of "ID title"
--- @return table<string, boolean>
function M.parse_workers(listing)
  local workers = {}
  for line in listing:gmatch("[^\n]+") do
    local pid = line:match("^(%d+) nginx: worker process%s*$")  -- the others are shutting down, or no workers
    if pid then workers[pid] = true end
  end
  return workers
end

function Proxy:_processes(host) return self:_inside(host, "sh -c", { "sh", "-c", PROCESSES }, { reads = true }) end

function Proxy:_workers(host) return M.parse_workers(self:_processes(host)) end

function Proxy:_await_workers(host, before, problem)
  local words = ("until %s has new workers"):format(self.container)
  self:_await(host, words, READY, problem, function()
    local new = false
    for pid in pairs(self:_workers(host)) do
      if before[pid] then return false end
      new = true
    end
    return new
  end)
end

--- Tells it to read again; returns when none of the workers that read before takes requests any more.
function Proxy:_reload(host)
  local before = self:_workers(host)
  self:_inside(host, "nginx -s reload", { "nginx", "-c", "/deployrun/nginx.conf", "-s", "reload" })
  self:_await_workers(host, before, { kind = "proxy.command", message = "nginx did not take its new configuration" })
end

function Proxy:_await_ready(host)
  self:_await_workers(host, {}, { kind = "proxy.boot", message = "nginx does not start" })
  self:_learn(host)
end

--- Writes what all services share as this version and this network want it; the next reload takes it.
function Proxy:_learn(host)
  local facts = config.facts(self:_inside(host, "sh -c", { "sh", "-c", FACTS }, { reads = true }))
  local wanted = config.base(facts, SERVICES)
  if self:_read(host, "nginx.conf") ~= wanted then self:_write(host, "nginx.conf", wanted) end
  return facts
end

--- Puts a service's file in place once nginx has found no fault in it.
function Proxy:_put(host, service, what, page)
  local facts, name = self:_learn(host), "next/" .. service
  self:_write(host, name .. ".conf", config.service(service, what, page))
  self:_write(host, name .. ".test", config.base(facts, "/deployrun/" .. name .. ".conf"))
  self:_inside(host, "nginx -t", { "nginx", "-t", "-q", "-c", "/deployrun/" .. name .. ".test" })
  self:_at_folder(host, PLACE, { service, config.file_name(service, what.route) })
end

function Proxy:_apply(host, service, what, page)
  self:_put(host, service, what, page)
  self:_reload(host)
end

function Proxy:look(host) return self:_look_by_files(host) end

--- Every service and its target, as the files say.
--- @async
function Proxy:routes(host) return M.parse_routes(self:_look_at_folder(host, LIST)) end

--- @param listing string  lines of a file's name and its first line
--- @return table<string, table>
function M.parse_routes(listing)
  return folder.parse_routes(listing, "^services/%d+%-(%S+)%.conf (.*)$", config.header)
end

--- Sends a service's traffic to a container; returns when new requests go there. Requests under way end where they are.
--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:switch(host, service, to)
  local what = { container = to.container:sub(1, 12), port = to.route.app_port, state = "running", route = to.route }
  local found, page = self:routes(host)[service], nil
  -- A maintenance ends with `resume`, as behind the other proxies; until that reads again, nobody gets a target.
  local down = found and found.state == "maintenance"
  if down then
    what.state, what.message, what.retry_after, what.page = found.state, found.message, found.retry_after, found.page
    page = found.page and self:_answer().page
  end
  if down then self:_put(host, service, what, page) else self:_apply(host, service, what, page) end
end

--- Forgets a service; a repetition does the rest of an interrupted one.
--- @async
function Proxy:remove(host, service)
  self:_at_folder(host, REMOVE, { service })
  self:_reload(host)
end

--- Waits until no request is under way at containers that traffic has left. Workers that have stopped to accept may
--- still read the beginning of one, as long as `client_header_timeout` allows, and then send it where it went before.
--- @async
function Proxy:drain(host, service, ids, route)
  door.wait(host.name, "until the old workers of nginx have read what they accepted", nil, function()
    local deadline = task.now() + math.min(LATE_REQUEST, text.parse_duration(route.drain_timeout))
    while self:_processes(host):find("shutting down", 1, true) and task.now() < deadline do task.sleep(100) end
  end)
  folder.Proxy.drain(self, host, service, ids, route)
  self:_at_folder(host, FORGET_NEXT, { service })
end

--- Raises `proxy.unsupported`.
function Proxy:pause() self:needs("pause") end

--- Answers 503 with a page or a message to everything.
--- @async
function Proxy:maintenance(host, service, message)
  local answer = self:_answer(message)
  if answer.page then answer.message = nil end
  self:_change(host, service, "maintenance", answer)
end

--- Ends a maintenance.
--- @async
function Proxy:resume(host, service) self:_change(host, service, "running", {}) end

door.guard("proxy", Proxy, { reads = { "routes" } })

return M
