--- What a release's container is called, how it is labelled and what it is made of. Pure: names are the same on every
--- evaluation, so that an interrupted run finds what it made (no time, no random, no run id).

local bit = require "bit"

local M = {}

M.LABEL_VERSION = "deployrun.version"
M.LABEL_CONFIG = "deployrun.config"
M.LABEL_ROUTE = "deployrun.route"

--- `shop-web-3f2a91c`
--- @param service string
--- @param role string
--- @param version string
--- @return string
function M.name(service, role, version)
  return ("%s-%s-%s"):format(service, role, version)
end

--- Whether a version can be an image's tag and the end of a container's name.
--- @param version any
--- @return boolean
function M.is_version(version)
  return type(version) == "string" and #version <= 128 and version:match("^[%w_][%w_.-]*$") ~= nil
end

--- What a proxy calls a role's traffic: `shop-web`.
--- @param service string
--- @param role string
--- @return string
function M.route_name(service, role)
  return service .. "-" .. role
end

--- A value as text that is equal for equal values: keys in order.
--- @param value any
--- @return string
function M.canonical(value)
  if type(value) ~= "table" then return ("%s:%s"):format(type(value), tostring(value)) end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  local parts = {}
  for _, key in ipairs(keys) do parts[#parts + 1] = tostring(key) .. "=" .. M.canonical(value[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- 16 hex digits that change when the text does (FNV-1a, 64 bits). Tells two configurations apart; protects nothing.
--- @param text string
--- @return string
function M.digest(text)
  local high, low = 0xcbf29ce4, 0x84222325
  for i = 1, #text do
    low = bit.bxor(low, text:byte(i)) % 2 ^ 32
    -- times 0x100000001b3, in two halves of 32 bits: the low half's product stays below 2^53
    local product = low * 0x1b3
    local carry = math.floor(product / 2 ^ 32)
    high = (high * 0x1b3 + carry + (low % 2 ^ 24) * 0x100) % 2 ^ 32
    low = product % 2 ^ 32
  end
  return ("%08x%08x"):format(high, low)
end

--- The digest of everything that makes two releases of one version differ. Of secrets only the names: whether their
--- values changed is asked of the secrets themselves.
--- @param app AppConfig
--- @param role RoleConfig
--- @return string
function M.config_digest(app, role)
  return M.digest(M.canonical {
    image = app.image, network = app.network, cmd = role.cmd or false, env = role.env, secrets = role.secrets,
    labels = role.labels, volumes = role.volumes, route = role.route or false, stop_timeout = role.stop_timeout,
  })
end

--- The labels of a release's container. `destination` is there without a value, as Kamal's filters expect it.
--- @param app AppConfig
--- @param role RoleConfig
--- @param version string
--- @param digest string
--- @param route_json string?  how the proxy sends traffic to it; nil for a role without proxy
--- @return table<string, string>
function M.labels(app, role, version, digest, route_json)
  local labels = {}
  for name, value in pairs(role.labels) do labels[name] = tostring(value) end
  labels.service, labels.role, labels.destination = app.service, role.name, ""
  labels[M.LABEL_VERSION], labels[M.LABEL_CONFIG], labels[M.LABEL_ROUTE] = version, digest, route_json
  return labels
end

--- @class Facts  one container as a look records it
--- @field id string
--- @field name string
--- @field state string      "running", "exited", "created" …
--- @field version string?
--- @field role string?
--- @field config string?    digest
--- @field route string?     how a proxy sends traffic to it, JSON
--- @field image string      ID
--- @field ref string        what it was made from
--- @field created integer   seconds, the engine's clock
--- @field rank integer      place in the engine's list, newest first: tells those of one second apart

--- One entry of `docker:list`, reduced to what decisions need.
--- @param entry table
--- @param rank integer
--- @return Facts
function M.facts(entry, rank)
  local labels = entry.labels or {}
  return {
    id = entry.id, name = entry.name, state = entry.state, role = labels.role, version = labels[M.LABEL_VERSION],
    config = labels[M.LABEL_CONFIG], route = labels[M.LABEL_ROUTE], image = entry.image_id, ref = entry.image,
    created = entry.created, rank = rank,
  }
end

--- The name under which a container of the same version but another configuration is kept: the first that is free.
--- Taken from what was there before the run, so that it comes out the same when the run is resumed.
--- @param before table<string, Facts>  by name
--- @param old Facts
--- @return string
function M.replaced_name(before, old)
  local base = ("%s_replaced_%s"):format(old.name, old.config or "unknown")
  local name, number = base, 1
  while before[name] do
    number = number + 1
    name = ("%s_%d"):format(base, number)
  end
  return name
end

return M
