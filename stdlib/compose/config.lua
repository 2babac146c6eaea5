--- The settings of a Compose project and what follows from them and its Compose file: which services move with a
--- release, which stay, which stop first. Checks all at once; looks at no server.

local config = require "deploy.app.config"
local document = require "compose.document"
local fail = require "native.fail"
local interpolate = require "compose.interpolate"
local kinds = require "proxy.kinds"
local maintenance = require "deploy.app.maintenance"
local place = require "deploy.migrate.place"
local render = require "compose.render"
local schema = require "deploy.schema"
local text = require "native.text"

local M = {}

local shared = config._shared
local VARIABLE = "VERSION"

local SERVICE = { "map", keys = {
  proxy = { "map", keys = shared.ROUTE }, health = shared.HEALTH, stop_timeout = { "duration" },
  shares_volumes = { "boolean" }, one_shot = { "boolean" }, moves = { "boolean" },
  reindex = { "list", least = 1, of = { "string" } }, reindex_timeout = { "duration" },
} }

M.SCHEMA = { "map", keys = {
  service = { "string", required = true, pattern = shared.NAME.pattern, words = shared.NAME.words },
  compose = { "string" }, variable = { "string", pattern = "^[%a_][%w_]*$", words = "letters, digits and _" },
  mode = { "string", choices = { "blue-green", "window" } },
  services = { "dictionary", pattern = "^[%w][%w._-]*$", words = "a name of the Compose file", of = SERVICE },
  migrate = { "map", keys = { service = { "string", required = true }, timeout = { "duration" },
    env = shared.ENV.keys.clear,
    command = { "list", least = 1, of = { "string" }, required = true }, database = { "path" },
    pending = { "list", least = 1, of = { "string" } }, keep = { "integer", least = 1 } } },
  backup = { "map", keys = { folder = { "path", required = true }, keep = { "duration" },
    at_least = { "integer", least = 1 } } },
  maintenance = maintenance.SCHEMA,
  hosts = shared.HOSTS, ssh = { "map", keys = shared.SSH }, registry = shared.REGISTRY, network = shared.NETWORK,
  proxy = { "map", keys = shared.PROXY }, env = shared.ENV, secrets = shared.SECRETS, lock = shared.LOCK,
  retain = shared.RETAIN,
} }

--- @class ComposeRole : RoleConfig
--- @field one_shot boolean    ready once it has ended with 0
--- @field stops_first boolean the only one that may write its volume: the old one ends before the new one starts
--- @field service table       of the Compose file

--- @class ComposeConfig : AppConfig
--- @field compose ComposeFile
--- @field variable string      of the Compose file, which stands for the version
--- @field window boolean
--- @field env { clear: table, secret: string[] }
--- @field migrate? { service: string, command: string[], timeout: string, env: table<string, any>, database: string?,
---   pending: string[]?, keep: integer? }
--- @field backup? { folder: string, keep: string?, at_least: integer? }
--- @field filled { name: string, reindex: string[], reindex_timeout: string, service: true }[]  services that are to be
---   filled again after a restore
--- @field stays string[]       services that do not move with a release
--- @field stays_once table<string, boolean>  those of them that run once

local function refers(image, variable)
  local found = {}
  interpolate.each(type(image) == "string" and image or "", function(name, _, word)
    found[name] = true
    if word then interpolate.collect(word, found) end
    return ""
  end)
  return found[variable] or false
end

--- Services that another one waits for until they have ended well.
local function one_shots(compose)
  local out = {}
  for _, service in pairs(compose.services) do
    local needs = type(service) == "table" and service.depends_on
    for name, how in pairs(document._is_map(needs) and needs or {}) do
      if type(how) == "table" and how.condition == "service_completed_successfully" then out[name] = true end
    end
  end
  return out
end

local function writes(service)
  for _, entry in ipairs(document._list(service.volumes)) do
    local volume = document.volume(entry)
    local lasts = volume.kind == "volume" or volume.kind == "bind"
    if volume.source and lasts and not volume.read_only then return true end
  end
  for _, from in ipairs(document._list(service.volumes_from)) do
    if not tostring(from):match(":ro$") then return true end  -- what the other one writes, this one may write
  end
  return false
end

local function stop_timeout(own, service)
  if own.stop_timeout then return own.stop_timeout end
  local said = service.stop_grace_period
  return type(said) == "string" and pcall(text.parse_duration, said) and said or "10s"
end

local function role_of(raw, name, service, is_one_shot)
  local own = (raw.services or {})[name] or {}
  local route = own.proxy and shared.route_of(raw.proxy or {}, own.proxy) or nil
  local health = (route or own.health) and shared.health_of(nil, own.health, route) or nil
  if health and not (own.health or {}).path then health.path = "/readyz" end
  if route then route.health = { path = health.path, port = health.port, host = health.host } end
  return {
    name = name, hosts = raw.hosts, proxied = route ~= nil, route = route, health = health,
    env = {}, secrets = (raw.env or {}).secret or {}, labels = {}, volumes = {},
    stop_timeout = stop_timeout(own, service), settle = (own.health or {}).settle or shared.SETTLE,
    one_shot = is_one_shot, service = service,
    stops_first = not is_one_shot and writes(service) and not own.shares_volumes,
  }
end

-- What would be in the way of a second one beside the first, and what the proxy needs of the one that it sends to.
local function check_moving(role, add)
  local name, service = role.name, role.service
  local function refuse(key, message, hint)
    add({ "services", name, key }, ("services.%s.%s: %s"):format(name, key, message), hint)
  end
  if not name:match(shared.NAME.pattern) then
    local message = "services.%s: it moves with a release, and its name has other characters than %s"
    add({ "services", name }, message:format(name, shared.NAME.words))
  end
  if service.container_name ~= nil then refuse("container_name", "two releases stand side by side", "leave it out") end
  if service.ports ~= nil and #document._list(service.ports) > 0 then
    refuse("ports", "two releases would want the same port of the server",
      "leave it out: the proxy reaches the container by itself (`proxy.app_port`)")
  end
  if service.network_mode ~= nil then refuse("network_mode", "the proxy reaches it through a network of its own") end
  local replicas = service.scale or type(service.deploy) == "table" and service.deploy.replicas
  if replicas and replicas ~= 1 then
    refuse(service.scale and "scale" or "deploy", "one container per service is supported")
  end
end

local function sort_roles(roles)
  table.sort(roles, function(a, b)
    if a.proxied ~= b.proxied then return a.proxied end
    return a.name < b.name
  end)
end

--- Roles of what moves, names of what stays, and which of those run once.
local function sorted_out(raw, compose, add)
  local roles, stays, stays_once, once = {}, {}, {}, one_shots(compose)
  for _, name in ipairs(compose.names) do
    local service, own = compose.services[name], (raw.services or {})[name] or {}
    if type(service) == "table" and not service.profiles then
      local moves = own.moves
      if moves == nil then moves = refers(service.image, raw.variable or VARIABLE) or own.proxy ~= nil end
      if moves then
        local role = role_of(raw, name, service, own.one_shot or once[name] or false)
        roles[#roles + 1] = role
        check_moving(role, add)
      else
        stays[#stays + 1], stays_once[name] = name, own.one_shot or once[name]
      end
    end
  end
  sort_roles(roles)
  if #roles == 0 and #compose.names > 0 then
    add({ "services" }, ("no service's image has the variable %s: nothing would change with a version"):format(
      raw.variable or VARIABLE), ("image: registry.example.com/acme/shop:${%s}"):format(raw.variable or VARIABLE))
  end
  return roles, stays, stays_once
end

local function check_variables(raw, compose, add)
  local known, names = { [raw.variable or VARIABLE] = true }, { raw.variable or VARIABLE }
  for name in pairs((raw.env or {}).clear or {}) do known[name], names[#names + 1] = true, name end
  for _, name in ipairs((raw.env or {}).secret or {}) do known[name], names[#names + 1] = true, name end
  local missing = {}
  for name in pairs(compose.variables) do
    if not known[name] then missing[#missing + 1] = name end
  end
  table.sort(missing)
  for _, name in ipairs(missing) do
    add(compose.variables[name], ("${%s} has no value: neither `env.clear` nor `env.secret` names it"):format(name),
      text.nearest_hint(name, names))
  end
  for name, service in pairs(compose.services) do
    for _, secret in ipairs((raw.env or {}).secret or {}) do
      if type(service) == "table" and refers(service.image, secret) then
        add({ "services", name, "image" }, ("services.%s.image: it holds the secret %s"):format(name, secret))
      end
    end
  end
end

--- Fills in the names of networks and volumes: deployrun makes them under these, so they cannot be left to Compose.
local function fill_names(raw, compose, add)
  local values = {}
  for name, value in pairs((raw.env or {}).clear or {}) do values[name] = tostring(value) end
  for _, kind in ipairs { "networks", "volumes" } do
    for key, entry in pairs(compose[kind]) do
      local own = document._map(entry).name
      if type(own) == "string" then
        local filled, missing = interpolate.fill(own, values)
        if filled then
          entry.name = filled
        elseif missing then
          add({ kind, key, "name" }, ("%s.%s.name: ${%s} has no value in `env.clear`"):format(kind, key, missing),
            "what outlives releases has a name that no version and no secret changes")
        end
      end
    end
  end
end

--- What the schema of the settings cannot say.
local function cross_check(raw, compose, problems)
  local function add(path, message, hint) problems[#problems + 1] = { path = path, message = message, hint = hint } end
  if raw.hosts == nil then add({}, "no servers: `hosts` is missing") end
  local proxied = false
  for name, own in pairs(type(raw.services) == "table" and raw.services or {}) do
    local path = { "services", name }
    if #compose.names > 0 and not compose.services[name] then
      add(path, ("`services.%s`: %s has no such service"):format(name, compose.file),
        text.nearest_hint(name, compose.names))
    end
    if type(own) == "table" then
      proxied = proxied or own.proxy ~= nil
      shared.check_route(raw, own.proxy, { "services", name, "proxy" }, problems)
      shared.check_expectation(raw, { "services", name, "health", "expect" }, problems)
    end
  end
  if not proxied then
    add({ "services" }, "no service has a `proxy`: say which one gets the traffic",
      "services: { web: { proxy: { app_port: 3000 } } }")
  end
  for index, source in ipairs(type(raw.secrets) == "table" and raw.secrets or {}) do
    if type(source) == "table" then shared.check_source(source, { "secrets", index }, problems) end
  end
  shared.check_route(raw, type(raw.proxy) == "table" and raw.proxy or {}, { "proxy" }, problems)
  if raw.migrate and #compose.names > 0 and not compose.services[raw.migrate.service] then
    add({ "migrate", "service" }, ("`migrate.service`: %s has no service %s"):format(compose.file, raw.migrate.service),
      text.nearest_hint(raw.migrate.service, compose.names))
  end
end

--- The volumes of a service as an app's role has them: "shop_data:/data".
local function volumes_of(settings, service)
  local names, out = {}, {}
  for _, one in ipairs(render.shared(settings, "volumes")) do names[one.key] = one.name end
  for _, entry in ipairs(document._list(service.volumes)) do
    local volume = document.volume(entry)
    local source = volume.kind == "volume" and names[volume.source] or volume.kind == "bind" and volume.source
    if source and volume.target then
      out[#out + 1] = ("%s:%s%s"):format(source, volume.target, volume.read_only and ":ro" or "")
    end
  end
  return out
end

local function check_migrate(raw, roles, problems)
  local migrate = raw.migrate
  if raw.backup and not (migrate and migrate.database) then
    problems[#problems + 1] = { path = { "backup" }, message = "`backup`: of which database? see `migrate.database`",
      hint = "where the recipe names it, it has `deploy.backup` too: docs/compose.md" }
  end
  local function add(key, message, hint)
    problems[#problems + 1] = { path = { "migrate", key }, message = message, hint = hint }
  end
  if not migrate or not migrate.database then
    for _, key in ipairs { "pending", "keep" } do
      if migrate and migrate[key] ~= nil then add(key, ("`migrate.%s` belongs to `migrate.database`"):format(key)) end
    end
    return
  end
  if raw.mode ~= "window" then
    add("database", "`migrate.database`: its snapshot is taken while nobody writes, which is in a window",
      "mode: window; or leave it out, and the migration is run as it is")
  end
  for _, role in ipairs(roles) do
    if role.name == migrate.service then
      if not place.volume_of(role.volumes, migrate.database) then
        add("database", ("`migrate.database`: no volume of %s holds %s"):format(role.name, migrate.database))
      end
      return
    end
  end
  add("service", ("`migrate.service`: %s does not move with a release"):format(migrate.service))
end

--- Services that hold what was made from the database, by name.
local function filled_of(raw, problems)
  local out = {}
  for name, own in pairs(raw.services or {}) do
    if own.reindex then
      out[#out + 1] = { name = name, service = true, reindex = own.reindex,
        reindex_timeout = own.reindex_timeout or "30m" }
    elseif own.reindex_timeout then
      problems[#problems + 1] = { path = { "services", name, "reindex_timeout" },
        message = ("`services.%s.reindex_timeout` belongs to `reindex`"):format(name) }
    end
  end
  table.sort(out, function(a, b) return a.name < b.name end)
  return out
end

local function check_writers(raw, roles, problems)
  for _, role in ipairs(roles) do
    if role.proxied and role.stops_first and raw.mode ~= "window" then
      problems[#problems + 1] = { path = { "services", role.name },
        message = ("%s writes a volume and gets traffic: two versions would write it at once"):format(role.name),
        hint = ("mode: window stops the old one first; services.%s.shares_volumes: true says that both may"):format(
          role.name) }
    end
  end
end

--- Checks settings and a Compose file and completes them. Raises `config.invalid` with every problem.
--- @param raw table
--- @param file string
--- @param places? table<string, string>
--- @param compose ComposeFile
--- @param refused table[]   what the file was read with
--- @return ComposeConfig
function M.complete(raw, file, places, compose, refused)
  local problems = schema.check(raw, M.SCHEMA)
  if #problems == 0 then cross_check(raw, compose, problems) end
  if #problems > 0 then shared.raise(problems, file, places) end
  local function add(path, message, hint) refused[#refused + 1] = { path = path, message = message, hint = hint } end
  local roles, stays, stays_once = sorted_out(raw, compose, add)
  check_variables(raw, compose, add)
  fill_names(raw, compose, add)
  if #refused > 0 then shared.raise(refused, compose.file, compose.places) end
  local named = { service = raw.service, compose = compose }
  for _, role in ipairs(roles) do role.volumes = volumes_of(named, role.service) end
  check_writers(raw, roles, problems)
  check_migrate(raw, roles, problems)
  local filled = filled_of(raw, problems)
  local down = maintenance.read(raw, file, function(path, message, hint)
    problems[#problems + 1] = { path = path, message = message, hint = hint }
  end)
  if #problems > 0 then shared.raise(problems, file, places) end
  local proxy, env = raw.proxy or {}, raw.env or {}
  local migrate = raw.migrate and { service = raw.migrate.service, command = raw.migrate.command,
    timeout = raw.migrate.timeout or "10m", env = raw.migrate.env or {}, database = raw.migrate.database,
    pending = raw.migrate.pending, keep = raw.migrate.keep }
  return {
    service = raw.service, roles = roles, ssh = raw.ssh or {}, registry = raw.registry, pull = "missing",
    image = roles[1].service.image, network = raw.network or "kamal", retain = raw.retain or 5, lock = raw.lock,
    secrets = raw.secrets or { ".deployrun/secrets" }, file = file,
    proxy = { kind = proxy.kind or kinds.DEFAULT, image = proxy.image, http_port = proxy.http_port or 80,
      https_port = proxy.https_port or (proxy.tls and 443 or nil), bind = proxy.bind, name = proxy.name },
    compose = compose, variable = raw.variable or VARIABLE, window = raw.mode == "window",
    env = { clear = env.clear or {}, secret = env.secret or {} }, migrate = migrate,
    backup = raw.backup, filled = filled, maintenance = down, stays = stays, stays_once = stays_once,
  }
end

--- The images of some services in a version. Raises `usage` for a version that means another thing tomorrow.
--- @param settings ComposeConfig
--- @param names string[]
--- @param version string
--- @return table<string, string>  by service
function M.images(settings, names, version)
  local values, out = { [settings.variable] = version }, {}
  for name, value in pairs(settings.env.clear) do values[name] = tostring(value) end
  for _, name in ipairs(names) do
    local service = settings.compose.services[name]
    local ref, missing = interpolate.fill(service.image, values)
    local why = not ref and ("services.%s.image: %s has no value"):format(name, missing or "a variable")
      or document.mutable(ref)
    if why then
      fail.usage(why, { hint = "ship what cannot change: the commit's SHA, as CI tags it", token = version })
    end
    out[name] = ref
  end
  return out
end

return M
