--- nginx's configuration as we generate it (nginx 1.18 or later). Pure. One file holds what all services share, one
--- each what a service is: nobody but its own deploys writes it, so two services of a server never wait for each other.

local json = require "native.json"
local text = require "native.text"

local M = {}

local BASE = [[
# Written by deployrun: %s
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  server_tokens off;
  default_type text/plain;
  # A container's name is looked up when it is asked, so that one that was started again is found at its new address.
  resolver %s valid=2s ipv6=off;
  resolver_timeout 2s;
  client_max_body_size 0;
  client_header_timeout 15s;
  keepalive_timeout 75s;
%s  # One connection per request to an app, from its first byte on: what is open there is a request.
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_connect_timeout 5s;
  map $http_upgrade $deployrun_connection { default upgrade; "" close; }
  map $http_host $deployrun_host { default $http_host; "" $host; }
  map $http_x_forwarded_proto $deployrun_proto { default $http_x_forwarded_proto; "" $scheme; }
  map $http_x_forwarded_host $deployrun_forwarded_host { default $http_x_forwarded_host; "" $deployrun_host; }
  geo $deployrun_dollar { default "$"; }
  server {
    listen 80 default_server;
    server_name _;
    set $deployrun_place "$host$uri/";
    set $deployrun_service "";
    include %s;
    if ($deployrun_service = "") { return 404 "nothing is served here\n"; }
    # Whatever is asked is answered by its service's location, which sends on the words of the client.
    rewrite ^ /.deployrun/$deployrun_service last;
  }
}
]]

-- Idle connections that clients keep are closed at a reload by older versions, and a request may be on its way then.
local KEEP_IDLE = "  keepalive_min_timeout 75s;\n"

--- @class NginxFacts
--- @field resolver string     who knows the names of containers
--- @field keeps_idle boolean  keepalive_min_timeout is there (1.27.4 and later)

M.UNKNOWN = { resolver = "127.0.0.11", keeps_idle = false }

--- What a container tells of itself: the output of `nginx -v`, then the lines of its /etc/resolv.conf.
--- @param said string
--- @return NginxFacts
function M.facts(said)
  local major, minor, patch = said:match("nginx/(%d+)%.(%d+)%.(%d+)")
  local number = major and tonumber(major) * 1000000 + tonumber(minor) * 1000 + tonumber(patch) or 0
  local resolver = ("\n" .. said):match("\nnameserver%s+(%S+)") or M.UNKNOWN.resolver
  if resolver:find(":", 1, true) then resolver = "[" .. resolver .. "]" end
  return { resolver = resolver, keeps_idle = number >= 1027004 }
end

--- @param facts NginxFacts
--- @param include string  the files of services
--- @return string
function M.base(facts, include)
  return BASE:format(json.encode(facts), facts.resolver, facts.keeps_idle and KEEP_IDLE or "", include)
end

--- What a written file says of itself, or nil.
--- @param source string
--- @return table?
function M.header(source)
  local found = source:match("^# Written by deployrun: ([^\n]+)")
  return found and json.decode(found)
end

local function literal(words) return (words:gsub("[%.%-~]", "\\%0")) end

--- A regular expression for the places (name, path and /) of a route.
local function places(route)
  local prefix = (route.path_prefix or ""):gsub("/+$", "")
  local names = {}
  for index, name in ipairs(route.hosts) do names[index] = literal(name:lower()) end
  return ("^%s%s/"):format(#names > 0 and "(" .. table.concat(names, "|") .. ")" or "[^/]*", literal(prefix))
end

--- A name for a service's file: the last that fits a request is taken, so what is more particular comes later.
--- @param service string
--- @param route table
--- @return string
function M.file_name(service, route)
  local prefix = (route.path_prefix or ""):gsub("/+$", "")
  return ("%d%03d-%s.conf"):format(#route.hosts > 0 and 1 or 0, math.min(#prefix, 999), service)
end

local function escaped(words) return (words:gsub('[\\"]', "\\%0"):gsub("%$", "${deployrun_dollar}")) end

local function text_of(message) return '"' .. escaped((message:gsub("%c", " "))) .. '\\n"' end

-- A word of a configuration ends with nginx's buffer of 4,096 bytes (ngx_conf_file.c): a page is several variables, and
-- those are joined in groups until one word names them all.
local WORD, SLICE, GROUP = 3000, 100, 100

local function parts_of(page)
  local parts, current, length = {}, {}, 0
  local function flush()
    parts[#parts + 1] = table.concat(current)
    current, length = {}, 0
  end
  for from = 1, #page, SLICE do
    local words = escaped(page:sub(from, from + SLICE - 1))
    if length + #words > WORD then flush() end
    current[#current + 1], length = words, length + #words
  end
  flush()
  return parts
end

--- Adds the variables of a page; returns the words that stand for all of it.
local function add_page(page, add)
  local parts, count = parts_of(page), 0
  repeat
    local names = {}
    for index, part in ipairs(parts) do
      count = count + 1
      names[index] = ("${deployrun_p%d}"):format(count)
      add('    set $deployrun_p%d "%s";', count, part)
    end
    parts = {}
    for from = 1, #names, GROUP do
      parts[#parts + 1] = table.concat(names, "", from, math.min(from + GROUP - 1, #names))
    end
  until #parts == 1
  return ('"%s"'):format(parts[1])
end

local HEADERS = [[
    proxy_set_header Host $deployrun_host;
    proxy_set_header Connection $deployrun_connection;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Forwarded-For %s;
    proxy_set_header X-Forwarded-Proto %s;
    proxy_set_header X-Forwarded-Host %s;]]

-- Whether what a client says of those before it is passed on.
local OWN = HEADERS:format("$remote_addr", "$scheme", "$deployrun_host")
local PASSED_ON = HEADERS:format("$proxy_add_x_forwarded_for", "$deployrun_proto", "$deployrun_forwarded_host")

--- @class NginxService
--- @field container string  short ID
--- @field port integer
--- @field state "running"|"maintenance"
--- @field message string?   of the maintenance
--- @field retry_after integer?  of the maintenance: seconds
--- @field page string?      of the maintenance: what tells it from others
--- @field route table

--- The file of a service.
--- @param service string
--- @param what NginxService
--- @param page? string  of the maintenance, HTML
--- @return string
function M.service(service, what, page)
  local route, lines = what.route, {}
  local function add(line, ...) lines[#lines + 1] = select("#", ...) > 0 and line:format(...) or line end
  add("# Written by deployrun: %s", json.encode(what))
  add('if ($deployrun_place ~ "%s") { set $deployrun_service "%s"; }', places(route), service)
  add("location = /.deployrun/%s {", service)
  add("    internal;")
  if what.state == "maintenance" then
    add("    add_header Retry-After %d always;", what.retry_after or 5)
    if page then add('    default_type "text/html; charset=utf-8";') end
    add("    return 503 %s;", page and add_page(page, add) or text_of(what.message or "down for maintenance"))
  else
    add(route.forward_headers == false and OWN or PASSED_ON)
    if route.response_timeout then
      add("    proxy_read_timeout %dms;", text.parse_duration(route.response_timeout))
    end
    add('    set $deployrun_target "%s";', what.container)
    add("    proxy_pass http://$deployrun_target:%d$request_uri;", what.port)
  end
  add("}")
  return table.concat(lines, "\n") .. "\n"
end

return M
