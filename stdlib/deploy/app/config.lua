--- The settings of an app: checking all of them at once and filling in what is not said. What they mean is app.lua's
--- business; no host is looked at here.

local accessory_config = require "deploy.app.accessory_config"
local fail = require "native.fail"
local kinds = require "proxy.kinds"
local maintenance = require "deploy.app.maintenance"
local schema = require "deploy.schema"
local text = require "native.text"

local M = {}

local SETTLE = "300ms"  -- how long a new container has to stand

local NAME = { pattern = "^[a-z0-9][a-z0-9_-]*$", words = "lower case letters, digits, - and _" }
local ENV_NAME = { pattern = "^[%a_][%w_]*$", words = "letters, digits and _" }

local ENV = { "map", keys = {
  clear = { "dictionary", pattern = ENV_NAME.pattern, words = ENV_NAME.words, of = { "scalar" } },
  secret = { "list", of = { "secret" } },
} }

local SSH_KEYS = {
  user = { "string" }, port = { "port" }, keys = { "list", of = { "string" } }, known_hosts = { "string" },
  accept_new = { "boolean" }, passphrase = { "secret" },
  config = { "either", options = { { "boolean" }, { "string" } } }, docker_socket = { "path" },
  jump = { "either", options = { { "string" }, { "list", of = { "string" } } } }, proxy_command = { "string" },
}

local HOST_KEYS = { address = { "string", required = true }, name = { "string" } }
for key, node in pairs(SSH_KEYS) do HOST_KEYS[key] = node end

local HOSTS = { "list", least = 1, of = { "either", options = { { "string" }, { "map", keys = HOST_KEYS } } } }

local HEALTH = { "map", keys = {
  path = { "path" }, port = { "port" }, interval = { "duration" }, timeout = { "duration" }, deadline = { "duration" },
  settle = { "duration" }, expect = { "string" }, host = { "string" }, version_header = { "string" },
} }

local ROUTE_KEYS = {
  host = { "string" }, hosts = { "list", of = { "string" } }, app_port = { "port" }, tls = { "boolean" },
  path_prefix = { "path" }, drain_timeout = { "duration" }, response_timeout = { "duration" },
  forward_headers = { "boolean" },
}
local PROXY_KEYS = {
  kind = { "string", choices = kinds.names }, image = { "string" }, http_port = { "port" },
  https_port = { "port" }, bind = { "string" }, name = { "string", pattern = NAME.pattern, words = NAME.words },
}
for key, node in pairs(ROUTE_KEYS) do PROXY_KEYS[key] = node end

local CONTAINER_KEYS = {
  env = ENV, labels = { "dictionary", of = { "scalar" } }, volumes = { "list", of = { "string" } },
  stop_timeout = { "duration" }, health = HEALTH,
  cmd = { "either", options = { { "list", of = { "string" } }, { "string" } } },
}

local SECRET_SOURCE = {
  file = { "string" }, command = { "list", least = 1, of = { "string" } }, stdin = { "boolean" },
  format = { "string", choices = { "value", "dotenv", "json" } }, timeout = { "duration" },
  name = { "string", pattern = ENV_NAME.pattern, words = ENV_NAME.words }, path = { "list", of = { "string" } },
}

local ROLE_KEYS = {
  hosts = HOSTS, proxy = { "either", options = { { "boolean" }, { "map", keys = ROUTE_KEYS } } },
}
local APP_KEYS = {
  service = { "string", required = true, pattern = NAME.pattern, words = NAME.words },
  image = { "string", required = true, pattern = "^[^@%s]+$", words = "a repository without digest" },
  hosts = HOSTS,
  roles = { "dictionary", pattern = NAME.pattern, words = NAME.words, of = { "map", keys = ROLE_KEYS } },
  ssh = { "map", keys = SSH_KEYS },
  registry = { "map", keys = { username = { "scalar" }, password = { "secret" } } },
  network = { "string", pattern = "^[%w][%w_.-]+$", words = "letters, digits, _, . and -" },
  proxy = { "map", keys = PROXY_KEYS },
  secrets = { "list", of = { "either", options = { { "string" }, { "map", keys = SECRET_SOURCE } } } },
  lock = { "either", options = { { "boolean" }, { "map", keys = { lease = { "duration" } } } } },
  maintenance = maintenance.SCHEMA,
  retain = { "integer", least = 1 }, pull = { "string", choices = { "missing", "always", "ship" } },
}
for key, node in pairs(CONTAINER_KEYS) do
  ROLE_KEYS[key], APP_KEYS[key] = node, node
end
APP_KEYS.accessories = accessory_config.schema { NAME = NAME, ENV = ENV, HEALTH = HEALTH, CONTAINER = CONTAINER_KEYS }

--- For the documentation's check: what an app may say.
M.SCHEMA = { "map", keys = APP_KEYS }

local RESERVED_LABELS = { service = true, role = true, destination = true }

local function overlay(base, over)
  local out = {}
  for key, value in pairs(base or {}) do out[key] = value end
  for key, value in pairs(over or {}) do out[key] = value end
  return out
end

local function problem(problems, path, message, hint)
  problems[#problems + 1] = { path = path, message = message, hint = hint }
end

local function check_labels(labels, path, problems)
  for name in pairs(type(labels) == "table" and labels or {}) do
    if RESERVED_LABELS[name] or tostring(name):match("^deployrun%.") then
      problem(problems, path, ("label `%s` is set by deployrun"):format(name))
    end
  end
end

local function kind_of(raw)
  return type(raw.proxy) == "table" and raw.proxy.kind or kinds.DEFAULT
end

--- kamal-proxy asks the health path itself before it switches, and takes 2xx alone.
local function check_expectation(raw, path, problems)
  local value = raw
  for _, key in ipairs(path) do value = type(value) == "table" and value[key] or nil end
  if type(value) ~= "string" or kind_of(raw) ~= "kamal_proxy" then return end
  for part in value:gmatch("[^,%s]+") do
    if not part:match("^2") then
      problem(problems, path, ("`%s`: kamal_proxy takes 2xx alone, got %q"):format(schema.name(path), value))
      return
    end
  end
end

--- One source: a file, a program or standard input, and what it gives.
local function check_source(source, path, problems)
  local named = {}
  for _, kind in ipairs { "file", "command", "stdin" } do
    if source[kind] then named[#named + 1] = kind end
  end
  if #named ~= 1 then problem(problems, path, "a source of secrets is one of `file`, `command`, `stdin: true`") end
  if source.format == "value" and not source.name then
    problem(problems, path, "format `value` needs a `name`")
  elseif source.name and source.format and source.format ~= "value" then
    problem(problems, path, "`name` is for one value; other formats bring their names")
  end
  if source.path and source.format ~= "json" then problem(problems, path, "`path` belongs to format `json`") end
  if source.timeout and not source.command then problem(problems, path, "`timeout` belongs to a `command`") end
end

local function has_tag(image)
  return type(image) == "string" and image:match("[^/]*$"):find(":", 1, true) ~= nil
end

-- What is written into a proxy's configuration as it stands has to be plain.
local HOST_NAME, PLAIN_PATH = "^[%w][%w.-]*$", "^/[%w/._~-]*$"

--- A route, of the root or of a role, as far as the proxy's kind decides.
local function check_route(raw, route, path, problems)
  local name = kind_of(raw)
  local kind = kinds.all[name]
  if type(route) ~= "table" or not kind then return end
  local function at(key)
    local out = { unpack(path) }
    out[#out + 1] = key
    return out
  end
  local function refuse(key, why) problem(problems, at(key), ("`%s`: %s"):format(schema.name(at(key)), why)) end
  if kind.lacks.tls then
    for _, key in ipairs { "tls", "https_port" } do
      if route[key] then refuse(key, ("%s cannot do that: %s"):format(name, kind.lacks.tls)) end
    end
  end
  if not kind.plain then return end
  for _, key in ipairs { "host", "hosts" } do
    for _, host in ipairs(type(route[key]) == "table" and route[key] or { route[key] }) do
      if type(host) == "string" and not host:match(HOST_NAME) then
        refuse(key, ("%q is no host name that %s can serve"):format(host, name))
      end
    end
  end
  if type(route.path_prefix) == "string" and not route.path_prefix:match(PLAIN_PATH) then
    refuse("path_prefix", ("%q: letters, digits and / . _ ~ - are what %s can serve"):format(route.path_prefix, name))
  end
end

--- What the schema cannot say.
local function cross_check(raw, problems)
  if has_tag(raw.image) then
    problem(problems, { "image" }, "`image` names a tag; the tag is the version to ship", "write the repository alone")
  end
  if raw.hosts and raw.roles then
    problem(problems, { "hosts" }, "`hosts` and `roles` exclude each other", "`hosts` is short for the role web")
  elseif not raw.hosts and not raw.roles then
    problem(problems, {}, "no servers: `hosts` or `roles` is missing")
  end
  for index, source in ipairs(type(raw.secrets) == "table" and raw.secrets or {}) do
    if type(source) == "table" then check_source(source, { "secrets", index }, problems) end
  end
  check_labels(raw.labels, { "labels" }, problems)
  check_expectation(raw, { "health", "expect" }, problems)
  accessory_config.check(raw, { nearest = text.nearest_hint,
    problem = function(path, message, hint) problem(problems, path, message, hint) end,
    labels = function(labels, path) check_labels(labels, path, problems) end })
  for name, role in pairs(type(raw.roles) == "table" and raw.roles or {}) do
    if type(role) == "table" then
      check_labels(role.labels, { "roles", name, "labels" }, problems)
      check_expectation(raw, { "roles", name, "health", "expect" }, problems)
      check_route(raw, role.proxy, { "roles", name, "proxy" }, problems)
      if role.hosts == nil then problem(problems, { "roles", name }, ("`roles.%s.hosts` is missing"):format(name)) end
    end
  end
  local proxy = type(raw.proxy) == "table" and raw.proxy or {}
  check_route(raw, proxy, { "proxy" }, problems)
  if proxy.host and proxy.hosts then
    problem(problems, { "proxy" }, "`proxy.host` and `proxy.hosts` exclude each other")
  end
  if proxy.tls and not (proxy.host or proxy.hosts) then
    problem(problems, { "proxy", "tls" }, "`proxy.tls` needs `proxy.host`: a certificate is for a name")
  end
end

--- Where a value stands, or the nearest part around it that is there.
local function place(path, places)
  for length = #path, 0, -1 do
    local part = {}
    for i = 1, length do part[i] = path[i] end
    local found = places[schema.name(part)]
    if found then return found end
  end
end

--- One error for all problems: the first in the file, the others in `also`, each with file:line:column.
local function raise(problems, file, places)
  local errors = {}
  for index, entry in ipairs(problems) do
    local at = places and place(entry.path, places) or file
    local line, column = at:match(":(%d+):(%d+)$")
    -- What is known is the value's place; a wrong key stands before it.
    column = entry.key and line and fail.column(file, tonumber(line), entry.path[#entry.path]) or column
    if line then at = ("%s:%s:%s"):format(file, line, column) end
    local hint = entry.hint ~= "" and entry.hint or nil
    errors[index] = { line = tonumber(line) or 0, column = tonumber(column) or 0, index = index,
      message = ("%s: %s"):format(at, entry.message), hint = hint }
  end
  table.sort(errors, function(a, b)
    if a.line ~= b.line then return a.line < b.line end
    if a.column ~= b.column then return a.column < b.column end
    return a.index < b.index
  end)
  local function fields(item, also)
    return { hint = item.hint, file = file, line = item.line > 0 and item.line or nil,
      column = item.line > 0 and item.column or nil, also = also }
  end
  local also = {}
  for index = 2, #errors do
    also[index - 1] = fail.make("config.invalid", errors[index].message, fields(errors[index]))
  end
  fail.raise("config.invalid", errors[1].message, fields(errors[1], #also > 0 and also or nil))
end

local function route_of(root, own)
  local merged = overlay(root, type(own) == "table" and own or nil)
  local hosts = merged.hosts or (merged.host and { merged.host }) or {}
  return {
    hosts = hosts, app_port = merged.app_port or 80, tls = merged.tls or false, path_prefix = merged.path_prefix,
    drain_timeout = merged.drain_timeout or "30s", response_timeout = merged.response_timeout,
    forward_headers = merged.forward_headers,
  }
end

local function health_of(root, own, route)
  local merged = overlay(root, own)
  return {
    path = merged.path or "/up", port = merged.port or (route and route.app_port) or 80, host = merged.host,
    interval = merged.interval or "100ms", timeout = merged.timeout or "5s", deadline = merged.deadline or "30s",
    settle = merged.settle or SETTLE, expect = merged.expect or "200-299",
    version_header = merged.version_header,
  }
end

local function words(command)
  if type(command) ~= "string" then return command end
  local out = {}
  for word in command:gmatch("%S+") do out[#out + 1] = word end
  return out
end

local function secret_names(root, own)
  local seen, out = {}, {}
  for _, list in ipairs { (root or {}).secret or {}, (own or {}).secret or {} } do
    for _, name in ipairs(list) do
      if not seen[name] then out[#out + 1] = name end
      seen[name] = true
    end
  end
  return out
end

local function role_of(raw, name, own, proxied)
  local route = proxied and route_of(raw.proxy or {}, own.proxy) or nil
  -- A role without proxy is probed only where it says how itself: the root's health is for what listens.
  local health = (proxied or own.health) and health_of(raw.health, own.health, route) or nil
  if route then route.health = { path = health.path, port = health.port, host = health.host } end
  return {
    name = name, hosts = own.hosts, cmd = words(own.cmd or raw.cmd), proxied = proxied, route = route,
    env = overlay((raw.env or {}).clear, (own.env or {}).clear), secrets = secret_names(raw.env, own.env),
    labels = overlay(raw.labels, own.labels), volumes = own.volumes or raw.volumes or {},
    stop_timeout = own.stop_timeout or raw.stop_timeout or "10s",
    health = health, settle = (own.health or raw.health or {}).settle or SETTLE,
  }
end

--- Which roles stand behind the proxy: those that say so; without a word, the primary one.
local function is_proxied(name, role, primary)
  if role.proxy ~= nil then return role.proxy ~= false end
  return name == primary
end

local function roles_of(raw)
  local roles = raw.roles or { web = { hosts = raw.hosts } }
  local names = {}
  for name in pairs(roles) do names[#names + 1] = name end
  table.sort(names)
  local primary = roles.web and "web" or names[1]
  table.sort(names, function(a, b)
    if (a == primary) ~= (b == primary) then return a == primary end
    return a < b
  end)
  local out = {}
  for index, name in ipairs(names) do
    out[index] = role_of(raw, name, roles[name], is_proxied(name, roles[name], primary))
  end
  return out
end

--- What a Compose project's settings (compose/config.lua) share with an app's.
M._shared = { NAME = NAME, ENV = ENV, SSH = SSH_KEYS, HOSTS = HOSTS, HEALTH = HEALTH, ROUTE = ROUTE_KEYS,
  PROXY = PROXY_KEYS, REGISTRY = APP_KEYS.registry, NETWORK = APP_KEYS.network, SECRETS = APP_KEYS.secrets,
  LOCK = APP_KEYS.lock, RETAIN = APP_KEYS.retain, raise = raise, check_source = check_source,
  check_route = check_route, check_expectation = check_expectation, route_of = route_of, health_of = health_of,
  SETTLE = SETTLE }

--- @class RoleConfig  one role, complete: what it says itself over what the app says
--- @field name string
--- @field hosts (string|table)[]
--- @field cmd? string[]
--- @field proxied boolean   stands behind the proxy
--- @field route? table      of a proxied one: hosts, app_port, tls, path_prefix, drain_timeout, health …
--- @field env table<string, any>
--- @field secrets string[]  names
--- @field secret_values table<string, Secret>  set when the app is read
--- @field labels table<string, any>
--- @field volumes string[]
--- @field stop_timeout string
--- @field health? table     path, port, host, interval, timeout, deadline, settle, expect, version_header
--- @field settle string

--- @class AppConfig
--- @field service string
--- @field image string       repository, with the registry's address where it is not Docker Hub
--- @field roles RoleConfig[] the primary one first
--- @field ssh table          defaults of every host
--- @field registry { username: string?, password: any }?
--- @field network string
--- @field proxy { kind: string, image: string?, http_port: integer?, https_port: integer?, bind: string?,
---        name: string? }  name: of its container
--- @field pull "missing"|"always"|"ship"
--- @field retain integer     stopped releases kept on each host
--- @field secrets (string|SecretSource)[]
--- @field maintenance Maintenance
--- @field accessories AccessoryConfig[]  in the order of their names
--- @field file string

--- Checks settings and completes them. Raises `config.invalid` with every problem.
--- @async
--- @param raw table
--- @param file string  what to call it in messages
--- @param places? table<string, string>  path → file:line:column, as native.yaml gives them
--- @return AppConfig
function M.complete(raw, file, places)
  local problems = schema.check(raw, M.SCHEMA)
  local fits = #problems == 0
  if type(raw) == "table" then cross_check(raw, problems) end
  local down = fits and maintenance.read(raw, file, function(...) problem(problems, ...) end)
  if #problems > 0 then raise(problems, file, places) end
  local proxy = raw.proxy or {}
  return {
    service = raw.service, image = raw.image, roles = roles_of(raw), ssh = raw.ssh or {}, registry = raw.registry,
    network = raw.network or "kamal", retain = raw.retain or 5, pull = raw.pull or "missing",
    secrets = raw.secrets or { ".deployrun/secrets" }, lock = raw.lock,
    maintenance = down, file = file, accessories = accessory_config.complete(raw, words, SETTLE),
    proxy = { kind = proxy.kind or kinds.DEFAULT, image = proxy.image, http_port = proxy.http_port or 80,
      https_port = proxy.https_port or (proxy.tls and 443 or nil), bind = proxy.bind, name = proxy.name },
  }
end

return M
