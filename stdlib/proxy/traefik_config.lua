--- Traefik's configuration as we generate it (Traefik 3). Pure. One file for each service, JSON after a first line of
--- ours, which Traefik's file provider reads as YAML: nobody but a service's own deploys writes it.

local json = require "native.json"
local maintenance = require "proxy.traefik_maintenance"
local text = require "native.text"

local M = {}

local PROVIDER = "@file"
M.API = "127.0.0.1:8099"  -- inside its container alone

--- What it is started with. Nothing of it looks outside; uploads may take their time.
--- @param folder string  the files of services, as the container sees them
--- @return string[]
function M.arguments(folder)
  return { "traefik", "--global.checknewversion=false", "--global.sendanonymoususage=false",
    "--entrypoints.web.address=:80", "--entrypoints.web.forwardedheaders.insecure=true",
    "--entrypoints.web.transport.respondingtimeouts.readtimeout=0s",
    "--entrypoints.traefik.address=" .. M.API, "--api.insecure=true", "--api.dashboard=false",
    "--providers.file.directory=" .. folder, "--providers.file.watch=true", maintenance.ARGUMENT,
    "--providers.providersthrottleduration=100ms" }
end

--- @class TraefikService
--- @field container string  short ID
--- @field port integer
--- @field state "running"|"maintenance"
--- @field retry_after? integer  s, of the maintenance
--- @field message? string   of the maintenance, where it has no page
--- @field page? string      of the maintenance: what tells it from others
--- @field route table

local function any(list) return #list > 1 and "(" .. table.concat(list, " || ") .. ")" or list[1] end

local function rule(route)
  local prefix = (route.path_prefix or ""):gsub("/+$", "")
  local place = prefix == "" and "PathPrefix(`/`)" or ("(Path(`%s`) || PathPrefix(`%s/`))"):format(prefix, prefix)
  local names = {}
  for index, name in ipairs(route.hosts) do names[index] = ("Host(`%s`)"):format(name:lower()) end
  return #names > 0 and any(names) .. " && " .. place or place
end

-- What is more particular is asked first: a service with names, then one with the longer prefix.
local function priority(route) return (#route.hosts > 0 and 10000 or 1) + #(route.path_prefix or ""):gsub("/+$", "") end

-- A client's word on those before it counts unless told otherwise; `Host` is left as it is.
local OWN_HEADERS = { ["X-Forwarded-For"] = "", ["X-Forwarded-Host"] = "", ["X-Forwarded-Proto"] = "http",
  ["X-Forwarded-Port"] = "", ["X-Forwarded-Server"] = "", ["X-Real-Ip"] = "" }

local function middleware(what, page)
  if what.state == "maintenance" then
    return maintenance.middleware(page or (what.message or "down for maintenance") .. "\n", page ~= nil,
      what.retry_after or 5)
  end
  if what.route.forward_headers == false then return { headers = { customRequestHeaders = OWN_HEADERS } } end
end

--- The names that tell one configuration of a service from another, in what Traefik says that it runs.
--- @param service string
--- @param what TraefikService
--- @return string
function M.mark(service, what) return ("%s-%s"):format(service, text.sha256(json.encode(what)):sub(1, 12)) end

--- The file of a service.
--- @param service string
--- @param what TraefikService
--- @param page? string  of the maintenance, HTML
--- @return string
function M.service(service, what, page)
  local route, mark, before = what.route, M.mark(service, what), middleware(what, page)
  local timeouts = { dialTimeout = "5s" }
  if route.response_timeout then
    timeouts.responseHeaderTimeout = ("%dms"):format(text.parse_duration(route.response_timeout))
  end
  local servers = json.array()
  -- Nothing goes to the container in a maintenance, whatever becomes of the middleware.
  if what.state == "running" then servers[1] = { url = ("http://%s:%d"):format(what.container, what.port) } end
  local http = {
    routers = { [service] = { rule = rule(route), priority = priority(route), entryPoints = { "web" },
      service = service, middlewares = before and { mark } or nil } },
    services = { [service] = { loadBalancer = { servers = servers, serversTransport = mark } } },
    -- A connection for each request: what is open to a container is a request.
    serversTransports = { [mark] = { maxIdleConnsPerHost = -1, forwardingTimeouts = timeouts } },
  }
  if before then http.middlewares = { [mark] = before } end
  local written = ("# Written by deployrun: %s\n%s\n"):format(json.encode(what),
    json.encode({ http = http }, { pretty = true }))
  -- Traefik takes its files for templates; in JSON two of these stand in a string alone.
  return (written:gsub("{{", "{\\u007b"))
end

--- What a written file says of itself, or nil.
--- @param source string
--- @return TraefikService?
function M.header(source)
  local found = source:match("^# Written by deployrun: ([^\n]+)")
  return found and json.decode(found)
end

--- Whether Traefik runs a service as its file has it, by its own word (GET /api/rawdata); nil: it knows none of that
--- name.
--- @param said string
--- @param service string
--- @param mark string
--- @return boolean?
--- @return string? problem  what Traefik finds wrong with it
function M.runs(said, service, mark)
  local all = json.decode(said)
  local router = (all.routers or {})[service .. PROVIDER]
  local found = (all.services or {})[service .. PROVIDER]
  if not router or not found then return nil end
  local problem = (router.error or found.error or {})[1]
  local transport = (found.loadBalancer or {}).serversTransport or ""
  return (transport == mark or transport == mark .. PROVIDER) and router.status == "enabled" and not problem, problem
end

return M
