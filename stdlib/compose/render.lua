--- The Compose files that go to a server, made from the user's: one of what moves, in a project per release, and one of
--- what stays, in the app's own project. Images are pinned, networks and volumes are the app's and outlive both. Pure.

local container = require "deploy.app.container"
local document = require "compose.document"
local interpolate = require "compose.interpolate"
local json = require "native.json"
local text = require "native.text"

local M = {}

M.LABEL_PROJECT = "deployrun.project"
M.LABEL_STAYS = "deployrun.stays"

local DROPPED = { "build", "ports", "pull_policy", "profiles", "develop", "container_name", "scale" }

local function copy(value)
  if type(value) ~= "table" then return value end
  local out = document._is_map(value) and {} or json.array {}
  for key, one in pairs(value) do out[key] = copy(one) end
  return out
end

-- A dollar sign of ours is no variable.
local function literal(word) return (word:gsub("%$", "$$$$")) end

--- `environment` or `labels`, which may be a list of NAME=value, as a map.
--- @param value any
--- @return table<string, any>
function M.as_map(value)
  if document._is_map(value) then return copy(value) end
  local out = {}
  for _, word in ipairs(document._list(value)) do
    local name, rest = tostring(word):match("^([^=]+)=(.*)$")
    if name then out[name] = rest else out[tostring(word)] = json.null end
  end
  return out
end

--- What a service waits for, as far as it starts with it.
local function needs(service, beside)
  local out = {}
  for name, how in pairs(document._is_map(service.depends_on) and service.depends_on or {}) do
    if beside[name] then out[name] = copy(how) end
  end
  for _, name in ipairs(document._list(not document._is_map(service.depends_on) and service.depends_on or nil)) do
    if beside[name] then out[name] = { condition = "service_started" } end
  end
  return next(out) and out or nil
end

local function own_name(settings, kind, key)
  local entry = document._map(settings.compose[kind][key])
  if type(entry.name) == "string" then return entry.name end
  if entry.external == true then return key end
  return ("%s_%s"):format(settings.service, key)
end

--- Networks or volumes of the app: what they are called on a server, and whether deployrun makes them.
--- @param settings ComposeConfig
--- @param kind "networks"|"volumes"
--- @return { key: string, name: string, external: boolean, driver: string?, internal: boolean?, labels: table }[]
function M.shared(settings, kind)
  local keys, out = {}, {}
  for key in pairs(settings.compose[kind]) do keys[#keys + 1] = key end
  if kind == "networks" and not settings.compose.networks.default then keys[#keys + 1] = "default" end
  table.sort(keys)
  for index, key in ipairs(keys) do
    local entry = document._map(settings.compose[kind][key])
    out[index] = { key = key, name = own_name(settings, kind, key), external = entry.external == true,
      driver = entry.driver, internal = entry.internal, labels = M.as_map(entry.labels) }
  end
  return out
end

local function around(settings)
  local out = { services = {} }
  for _, kind in ipairs { "networks", "volumes" } do
    for _, one in ipairs(M.shared(settings, kind)) do
      out[kind] = out[kind] or {}
      out[kind][one.key] = { external = true, name = one.name }
    end
  end
  for _, kind in ipairs { "configs", "secrets" } do
    if next(settings.compose[kind]) then out[kind] = copy(settings.compose[kind]) end
  end
  return out
end

local function names_of(list)
  local out = {}
  for _, one in ipairs(list) do out[type(one) == "table" and one.name or one] = true end
  return out
end

--- A release's file, without what tells one of its copies from another: `identified` adds that.
--- @param settings ComposeConfig
--- @param version string
--- @param pins table<string, string>  service → image by digest
--- @return table
function M.release(settings, version, pins)
  local out, beside = around(settings), {}
  for _, role in ipairs(settings.roles) do beside[role.name] = not role.stops_first or nil end
  for _, role in ipairs(settings.roles) do
    local service = copy(role.service)
    for _, key in ipairs(DROPPED) do service[key] = nil end
    service.image, service.depends_on = pins[role.name], needs(role.service, beside)
    -- `always` would bring a stopped release back with the engine, beside the one that serves.
    if service.restart == "always" then service.restart = "unless-stopped" end
    service.container_name = container.name(settings.service, role.name, version)
    service.stop_grace_period = role.stop_timeout
    out.services[role.name] = service
  end
  return out
end

--- What tells two releases of a version apart: 16 hex digits of everything but the values of secrets.
--- @param settings ComposeConfig
--- @param rendered table
--- @param version string
--- @param files table<string, string>  contents of the files beside it
--- @return string
function M.digest(settings, rendered, version, files)
  local routes = {}
  for _, role in ipairs(settings.roles) do routes[role.name] = role.route or false end
  return text.sha256(container.canonical { rendered = rendered, version = version, env = settings.env, files = files,
    routes = routes, network = settings.network }):sub(1, 16)
end

--- How the names of a version's projects begin.
--- @param settings ComposeConfig
--- @param version string
--- @return string
function M.projects(settings, version)
  return ("%s-%s-"):format(settings.service, version:lower():gsub("[^a-z0-9_-]", "-"):sub(1, 24))
end

--- The name of a release's project: `shop-3f2a91c-0a1b2c3d`.
--- @param settings ComposeConfig
--- @param version string
--- @param digest string
--- @return string
function M.project(settings, version, digest) return M.projects(settings, version) .. digest:sub(1, 8) end

--- Labels by which deployrun finds a release's containers again.
--- @param settings ComposeConfig
--- @param rendered table    gets them
--- @param version string
--- @param digest string
--- @param project string
--- @return table rendered
function M.identified(settings, rendered, version, digest, project)
  for _, role in ipairs(settings.roles) do
    local service = rendered.services[role.name]
    local labels = M.as_map(service.labels)
    local own = container.labels(settings, role, version, digest, role.route and json.encode(role.route) or nil)
    own[M.LABEL_PROJECT] = project
    for name, value in pairs(own) do labels[name] = literal(value) end
    service.labels = labels
  end
  return rendered
end

--- The file of what stays.
--- @param settings ComposeConfig
--- @param pins table<string, string>
--- @return table
function M.staying(settings, pins)
  local out, beside = around(settings), names_of(settings.stays)
  for _, name in ipairs(settings.stays) do
    local service = copy(settings.compose.services[name])
    service.image, service.depends_on = pins[name], needs(service, beside)
    service.pull_policy, service.develop = nil, nil
    local labels = M.as_map(service.labels)
    labels[M.LABEL_STAYS] = settings.service
    service.labels = labels
    out.services[name] = service
  end
  return out
end

--- What a container's environment would hold of the secrets: by name.
--- @param settings ComposeConfig
--- @param role ComposeRole
--- @param values table<string, string|Secret>  of every variable
--- @return table<string, Secret|string>
function M.secret_env(settings, role, values)
  local out, secrets = {}, names_of(settings.env.secret)
  for name, value in pairs(M.as_map(role.service.environment)) do
    local found = {}
    if value == json.null then
      if secrets[name] then out[name] = values[name] end
    elseif type(value) == "string" and interpolate.collect(value, found) then
      for one in pairs(found) do
        if secrets[one] then out[name] = interpolate.fill(value, values) end
      end
    end
  end
  return out
end

return M
