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

local function respond(status, body, headers)
  return { handler = "static_response", status_code = status, headers = headers, body = body }
end

local function file_matcher(service, pattern)
  local newest = { root = "/deployrun/" .. service, try_files = { pattern }, try_policy = "most_recently_modified" }
  return { { file = newest } }
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
      { match = file_matcher(service, "maintenance"), terminal = true,
        handle = { respond(503, "down for maintenance\n", { ["Retry-After"] = { "5" } }) } },
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
