--- HAProxy's configuration as we generate it (HAProxy 2.4 or later, with Lua as its images have it). Pure. One file
--- holds what all services share, one each the backend of a service; which request is for which service, which services
--- are down for maintenance and which are paused stands in maps, a line each.

local container = require "deploy.app.container"
local text = require "native.text"

local M = {}

M.ADMIN_PORT = 9180  -- on the container's own loopback

M.BASE = [[
# Written by deployrun.
global
  log stdout format raw local0 warning
  stats socket ipv4@127.0.0.1:9180 level admin
  stats timeout 1m
  lua-load /deployrun/hold.lua

# A container's name is looked up again and again, so that one that was started again is found at its new address.
resolvers engine
  parse-resolv-conf
  resolve_retries 3
  timeout resolve 1s
  timeout retry 1s
  hold valid 1s
  hold nx 5s
  hold other 5s
  hold timeout 5s

defaults
  mode http
  log global
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  timeout http-request 15s
  timeout http-keep-alive 75s
  timeout tunnel 1h
  retries 3
  # One connection per request to an app: what is open there is a request. Clients keep theirs, through a reload too.
  option http-server-close
  option idle-close-on-response

frontend deployrun
  bind :80
  http-request set-var(txn.place) path,concat(/)
  http-request set-var(txn.named) req.hdr(host),field(1,:),lower,concat(,txn.place)
  http-request set-var(txn.service) var(txn.named),map_beg(/deployrun/routes.map)
  acl known var(txn.service) -m found
  http-request set-var(txn.service) var(txn.place),map_beg(/deployrun/routes.map) unless known
  http-request return status 404 content-type text/plain string "nothing is served here\n" unless known
  http-request set-var(txn.message) var(txn.service),map(/deployrun/maintenance.map)
  acl down var(txn.message) -m found
  http-request set-var(txn.retry) var(txn.service),map(/deployrun/retry.map,5)
  acl paged var(txn.retry) -m end .html
  http-request use-service lua.deployrun_page if down paged
]] .. '  http-request return status 503 content-type text/plain lf-string "%[var(txn.message)]\\n"' .. [[
 hdr Retry-After "%[var(txn.retry)]" if down
  acl held var(txn.service),map(/deployrun/paused.map) -m found
  http-request lua.deployrun_hold if held
  acl expired var(txn.expired) -m bool
  http-request return status 503 content-type text/plain string "held for too long\n" hdr Retry-After 5 if expired
  use_backend %[var(txn.service)]
]]

--- Holds requests while their service is in the map of those that are paused, each for as long as that says (ms); and
--- answers with a service's page: what HAProxy itself returns has to fit into one of its buffers (tune.bufsize).
M.HOLD = [[
-- Written by deployrun.
local paused = Map.new("/deployrun/paused.map", Map._str)

core.register_action("deployrun_hold", { "http-req" }, function(txn)
  local service, began = txn:get_var("txn.service"), core.now()
  while true do
    local wait = tonumber(paused:lookup(service))
    if not wait then return end
    local now = core.now()
    if (now.sec - began.sec) * 1000 + (now.usec - began.usec) / 1000 > wait then
      txn:set_var("txn.expired", true)
      return
    end
    core.msleep(20)
  end
end, 0)

core.register_service("deployrun_page", "http", function(applet)
  local file = io.open("/deployrun/pages/" .. applet:get_var("txn.service") .. ".html", "rb")
  local page = file and file:read("*a") or "down for maintenance"
  if file then file:close() end
  applet:set_status(503)
  applet:add_header("content-type", "text/html; charset=utf-8")
  applet:add_header("content-length", tostring(#page))
  applet:add_header("retry-after", applet:get_var("txn.retry"):match("^%d+"))
  applet:start_response()
  if applet.method ~= "HEAD" then applet:send(page) end
end)
]]

--- The lines of a service in the map of routes. The longest that fits a request's name and path is taken; what has no
--- name is asked last.
--- @param service string
--- @param route table
--- @return string[]
function M.routes(service, route)
  local prefix, lines = (route.path_prefix or ""):gsub("/+$", ""), {}
  for index, name in ipairs(#route.hosts > 0 and route.hosts or { "" }) do
    lines[index] = ("%s%s/ %s"):format(name:lower(), prefix, service)
  end
  return lines
end

local FORWARDED = [[
  http-request set-header X-Forwarded-Proto http if %s
  http-request set-header X-Forwarded-Host %%[req.hdr(host)] if %s]]
local PASSED_ON = FORWARDED:format("!{ req.hdr(x-forwarded-proto) -m found }",
  "!{ req.hdr(x-forwarded-host) -m found }") .. "\n  option forwardfor"
-- Nothing of what a client says of those before it is passed on.
local OWN = FORWARDED:format("TRUE", "TRUE") .. "\n  http-request del-header X-Forwarded-For\n  option forwardfor"

local function lines_of(route)
  local lines = { route.forward_headers == false and OWN or PASSED_ON }
  if route.response_timeout then
    lines[2] = ("  timeout server %dms"):format(text.parse_duration(route.response_timeout))
  end
  return table.concat(lines, "\n")
end

--- @class HaproxyService
--- @field server string    name of its only server; another one is another shape, which needs a reload
--- @field backend string   its file
--- @field routes string[]  its lines in the map of routes

--- @param service string
--- @param target { container: string, port: integer }
--- @param route table
--- @return HaproxyService
function M.service(service, target, route)
  local routes, lines = M.routes(service, route), lines_of(route)
  local shape = table.concat({ M.BASE, M.HOLD, lines, table.concat(routes, "\n") }, "\n")
  local server = "s" .. container.digest(shape)
  local address = ("%s:%d resolvers engine init-addr libc,none"):format(target.container, target.port)
  local head = "# Written by deployrun.\n"
  local backend = head .. ("backend %s\n%s\n  server %s %s\n"):format(service, lines, server, address)
  return { server = server, backend = backend, routes = routes }
end

--- What commands at the administration's port answered, one after another: each ends with an empty line.
--- @param said string
--- @return string[][]  the lines of each
function M.replies(said)
  local replies, current = {}, {}
  for line in (said .. "\n"):gmatch("([^\n]*)\n") do
    line = line:gsub("\r$", "")
    if line == "" then
      replies[#replies + 1], current = current, {}
    else
      current[#current + 1] = line
    end
  end
  return replies
end

--- The answer to `show servers state`.
--- @param lines string[]
--- @return table<string, { server: string, address: string, container: string, port: integer }>  by backend
function M.servers(lines)
  local columns, found = {}, {}
  for _, line in ipairs(lines) do
    local cells = {}
    for cell in line:gmatch("%S+") do cells[#cells + 1] = cell end
    if cells[1] == "#" then
      for index = 2, #cells do columns[cells[index]] = index - 1 end
    elseif columns.srv_fqdn and #cells >= columns.srv_port then
      found[cells[columns.be_name]] = { server = cells[columns.srv_name], address = cells[columns.srv_addr],
        container = cells[columns.srv_fqdn], port = tonumber(cells[columns.srv_port]) }
    end
  end
  return found
end

--- The answer to `show map`: what is behind each key.
--- @param lines string[]
--- @return table<string, string>
function M.map(lines)
  local found = {}
  for _, line in ipairs(lines) do
    local key, value = line:match("^0x%x+ (%S+) ?(.*)$")
    if key then found[key] = value end
  end
  return found
end

--- A message as one word of a command, on one line.
--- @param message string
--- @return string
function M.escape(message) return (message:gsub("%c", " "):gsub("[\\ ;<]", "\\%0")) end

return M
