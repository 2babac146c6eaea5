--- Caddy's configuration as we generate it (JSON, Caddy 2.6). Pure. Only what we made is in it; other services of
--- deployrun on the same server keep their routes.

local json = require "native.json"

local M = {}

local SERVER = "deployrun"

local function skeleton()
  local servers = { [SERVER] = { routes = json.array() } }
  return { admin = { listen = "127.0.0.1:2019" }, apps = { http = { servers = servers } } }
end

--- @param source string  what the file holds; may be empty
--- @return table
function M.decode(source)
  if not source:match("%S") then return skeleton() end
  return json.decode(source)
end

--- @param config table
--- @return string
function M.encode(config) return json.encode(config, { pretty = true }) .. "\n" end

local function server(config) return config.apps.http.servers[SERVER] end

local function id_of(service) return "deployrun-" .. service end

--- Ports inside the container. Certificates are Caddy's own business as soon as one route asks for them.
--- @param config table
--- @param settings table
--- @return table config
function M.with_listeners(config, settings)
  local listen = { ":80" }
  if settings.https_port then listen[2] = ":443" end
  server(config).listen = listen
  if not settings.https_port then
    server(config).automatic_https = { disable = true }
  else
    server(config).automatic_https = nil
  end
  return config
end

local function respond(status, body)
  return { handler = "static_response", status_code = status, body = body }
end

-- What a file server would make another answer of.
local CONDITIONS = { "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range" }

local function file_matcher(service, pattern)
  local newest = { root = "/deployrun/" .. service, try_files = { pattern }, try_policy = "most_recently_modified" }
  return { { file = newest } }
end

--- The route of a service's maintenance: it answers what is in the file, whose name says when to come again. As a file,
--- so that a maintenance needs no reload, and no text of it is taken for a placeholder.
local function maintenance(service)
  local take_name = { handler = "map", source = "{http.matchers.file.relative}",
    destinations = { "{deployrun.retry}", "{deployrun.type}" },
    mappings = { { input_regexp = "^/maintenance/([0-9]+)[.]html$", outputs = { "$1", "text/html; charset=utf-8" } },
      { input_regexp = "^/maintenance/([0-9]+)[.]", outputs = { "$1", "text/plain; charset=utf-8" } } } }
  local headers = { handler = "headers", request = { delete = CONDITIONS }, response = { set = {
    ["Retry-After"] = { "{deployrun.retry}" }, ["Content-Type"] = { "{deployrun.type}" } } } }
  return { match = file_matcher(service, "maintenance/*"), terminal = true, handle = {
    take_name, headers,
    -- A file server takes GET and HEAD alone; the server itself knows that an answer to HEAD has no body.
    { handler = "rewrite", method = "GET", uri = "{http.matchers.file.relative}" },
    -- The file goes when the maintenance ends, and a request may be between the two.
    { handler = "file_server", root = "/deployrun/" .. service, status_code = 503, canonical_uris = false,
      pass_thru = true },
    respond(503, "down for maintenance\n"),
  } }
end

--- The route of one service. The file matcher puts the newest file's name into a placeholder, the map takes the target
--- from it, the proxy dials that: nothing has to be reloaded for another target.
--- @param service string
--- @param route table
--- @return table
function M.route(service, route)
  local transport = { protocol = "http", keep_alive = { idle_timeout = "1s" } }
  if route.response_timeout then transport.response_header_timeout = route.response_timeout end
  local forward = {
    handler = "reverse_proxy", upstreams = { { dial = "{deployrun.upstream}" } }, transport = transport,
    -- A connect that failed is tried again, and a GET that got no answer (Caddy's own rule).
    load_balancing = { try_duration = "2s", try_interval = "50ms" },
  }
  local take_target = { handler = "map", source = "{http.matchers.file.relative}",
    destinations = { "{deployrun.upstream}" }, mappings = { { input_regexp = "^/serving/(.+)$", outputs = { "$1" } } } }
  local match = {}
  if #route.hosts > 0 then match.host = json.array(route.hosts) end
  if route.path_prefix then match.path = { route.path_prefix, route.path_prefix:gsub("/$", "") .. "/*" } end
  local made = {
    ["@id"] = id_of(service), terminal = true,
    handle = { { handler = "subroute", routes = {
      maintenance(service),
      { match = file_matcher(service, "serving/*:" .. route.app_port), terminal = true,
        handle = { take_target, forward } },
      { handle = { respond(503, "no version is serving\n") } },
    } } },
  }
  if next(match) then made.match = { match } end
  return made
end

--- What is more particular comes first; a route for all hosts comes last.
local function before(a, b)
  local rank_a, rank_b = a.match and 0 or 1, b.match and 0 or 1
  if rank_a ~= rank_b then return rank_a < rank_b end
  return a["@id"] < b["@id"]
end

--- @param config table
--- @param service string
--- @return table config
function M.without_route(config, service)
  local kept = json.array()
  for _, one in ipairs(server(config).routes) do
    if one["@id"] ~= id_of(service) then kept[#kept + 1] = one end
  end
  server(config).routes = kept
  return config
end

--- The same with a service's maintenance as it is now: an earlier deployrun wrote another one.
--- @param config table
--- @param service string
--- @return table config
function M.with_maintenance(config, service)
  for _, one in ipairs(server(config).routes) do
    if one["@id"] == id_of(service) then one.handle[1].routes[1] = maintenance(service) end
  end
  return config
end

--- @param config table
--- @param service string
--- @param route table
--- @return table config
function M.with_route(config, service, route)
  M.without_route(config, service)
  local routes = server(config).routes
  routes[#routes + 1] = M.route(service, route)
  table.sort(routes, before)
  return config
end

return M
