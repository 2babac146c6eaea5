--- What an app's settings say of its accessories: what stands beside it with data of its own (search, cache, another
--- database), checked with all other settings and completed. What is done with them is accessories.lua's.

local schema = require "deploy.schema"

local M = {}

local STOP_TIMEOUT, REINDEX_TIMEOUT = "10s", "30m"
local RESTARTS = { ["no"] = true, always = true, ["unless-stopped"] = true, ["on-failure"] = true }

--- @class AccessoryConfig  one accessory, complete
--- @field name string         as the settings call it
--- @field container string    `<service>-<name>`, which is also what the app's containers call it
--- @field image string        with its tag or digest
--- @field hosts? string[]     names of the app's servers; nil: the first
--- @field port? integer       where it listens, in the app's network
--- @field publish string[]    as for docker: "127.0.0.1:7700:7700"
--- @field volumes string[]
--- @field env table<string, any>
--- @field secrets string[]    names
--- @field secret_values table<string, Secret>  set when the app is read
--- @field labels table<string, any>
--- @field cmd? string[]
--- @field restart string
--- @field memory? string
--- @field stop_timeout string
--- @field health? table       path, port, host, interval, timeout, deadline, settle, expect
--- @field settle string
--- @field reindex? string[]   a command of the app's image that fills it again, after a restore
--- @field reindex_timeout string

--- The node of `accessories`, from what the other settings use too.
--- @param shared { NAME: table, ENV: Node, HEALTH: Node, CONTAINER: table<string, Node> }
--- @return Node
function M.schema(shared)
  local health = {}
  for key, node in pairs(shared.HEALTH.keys) do health[key] = node end
  health.path, health.version_header = { "path", required = true }, nil
  local words = shared.CONTAINER.cmd
  return { "dictionary", pattern = shared.NAME.pattern, words = shared.NAME.words, of = { "map", keys = {
    image = { "string", required = true, pattern = "^[^%s]+$", words = "an image with its tag" },
    hosts = { "list", least = 1, of = { "string" } }, port = { "port" }, publish = { "list", of = { "string" } },
    volumes = { "list", of = { "string", pattern = "^[^:]+:/.*$", words = "\"name:/path\"" } }, env = shared.ENV,
    labels = shared.CONTAINER.labels, cmd = words, restart = { "string" }, memory = { "string" },
    stop_timeout = { "duration" }, health = { "map", keys = health }, reindex = words,
    reindex_timeout = { "duration" },
  } } }
end

--- As deploy.host calls it: without the user, the usual port, the brackets of IPv6.
local function called(name)
  local bare = name:gsub("^[^@]*@", "")
  local address, rest = bare:match("^%[(.-)%](.*)$")
  if address then return rest == ":22" and address or address .. rest end
  return select(2, bare:gsub(":", "")) > 1 and bare or (bare:gsub(":22$", ""))
end

local function hosts_of(raw)
  local names = {}
  local function take(list)
    for _, host in ipairs(type(list) == "table" and list or {}) do
      local name = type(host) == "table" and (host.name or host.address) or host
      if type(name) == "string" then names[called(name)] = true end
    end
  end
  take(raw.hosts)
  for _, role in pairs(type(raw.roles) == "table" and raw.roles or {}) do
    if type(role) == "table" then take(role.hosts) end
  end
  return names
end

--- A container of a release is called `<service>-<role>-<version>`: an accessory must not look like one.
local function role_like(raw, name)
  for role in pairs(type(raw.roles) == "table" and raw.roles or { web = true }) do
    if name == role or name:sub(1, #tostring(role) + 1) == role .. "-" then return role end
  end
end

local function check_one(raw, name, one, known, refuse)
  local image = one.image
  if type(image) == "string" and not image:match("@sha256:%x+$") and not image:match("[^/]*$"):find(":", 1, true) then
    refuse("image", ("%q names no tag: what it means changes with each pull"):format(image), "say which: IMAGE:TAG")
  end
  if type(one.restart) == "string" and not RESTARTS[(one.restart:gsub("^(on%-failure):%d+$", "%1"))] then
    refuse("restart", ("%q is none of no, always, unless-stopped, on-failure, on-failure:3"):format(one.restart))
  end
  for index, host in ipairs(type(one.hosts) == "table" and one.hosts or {}) do
    if type(host) == "string" and not known.names[host] then
      refuse({ "hosts", index }, ("%q is none of the app's servers: %s"):format(host, table.concat(known.list, ", ")),
        known.nearest(host))
    end
  end
  if type(one.health) == "table" and not (one.port or one.health.port) then
    refuse("health", "there is no port to ask: `port` is missing")
  end
  local role = role_like(raw, name)
  if role then
    refuse({}, ("its container would be called like one of the role %s"):format(role), "choose another name")
  end
end

--- What the schema cannot say.
--- @param raw table  the app's settings
--- @param tools { problem: fun(path: table, message: string, hint?: string), labels: fun(labels: any, path: table),
---   nearest: fun(word: string, names: string[]): string }
function M.check(raw, tools)
  local names, list = hosts_of(raw), {}
  for host in pairs(names) do list[#list + 1] = host end
  table.sort(list)
  local known = { names = names, list = list, nearest = function(word) return tools.nearest(word, list) end }
  for name, one in pairs(type(raw.accessories) == "table" and raw.accessories or {}) do
    if type(one) == "table" and type(name) == "string" then
      local function refuse(key, why, hint)
        local path = { "accessories", name }
        for _, part in ipairs(type(key) == "table" and key or { key }) do path[#path + 1] = part end
        tools.problem(path, ("`%s`: %s"):format(schema.name(path), why), hint)
      end
      check_one(raw, name, one, known, refuse)
      tools.labels(one.labels, { "accessories", name, "labels" })
    end
  end
end

local function health_of(one, settle)
  local health = one.health
  if not health then return nil end
  return { path = health.path, port = health.port or one.port, host = health.host,
    interval = health.interval or "100ms", timeout = health.timeout or "5s", deadline = health.deadline or "30s",
    settle = health.settle or settle, expect = health.expect or "200-299" }
end

--- The accessories of an app, complete, in the order of their names.
--- @param raw table   the app's settings
--- @param words fun(command: string[]|string|nil): string[]?
--- @param settle string
--- @return AccessoryConfig[]
function M.complete(raw, words, settle)
  local out = {}
  for name, one in pairs(raw.accessories or {}) do
    local env, secrets = {}, {}
    for key, value in pairs((one.env or {}).clear or {}) do env[key] = value end
    for index, secret in ipairs((one.env or {}).secret or {}) do secrets[index] = secret end
    out[#out + 1] = {
      name = name, container = raw.service .. "-" .. name, image = one.image, hosts = one.hosts, port = one.port,
      publish = one.publish or {}, volumes = one.volumes or {}, env = env, secrets = secrets,
      labels = one.labels or {}, cmd = words(one.cmd), restart = one.restart or "unless-stopped", memory = one.memory,
      stop_timeout = one.stop_timeout or STOP_TIMEOUT, health = health_of(one, settle),
      settle = (one.health or {}).settle or settle, reindex = words(one.reindex),
      reindex_timeout = one.reindex_timeout or REINDEX_TIMEOUT,
    }
  end
  table.sort(out, function(a, b) return a.name < b.name end)
  return out
end

return M
