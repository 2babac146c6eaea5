--- What stands beside an app with data of its own (search, cache, another database): booted where it is not, replaced
--- where its settings changed, asked whether the app reaches it. A container of it has labels of its own and none of a
--- release's, so that no deploy, rollback or pruning takes it for one. Its volumes are never removed, anonymous ones
--- neither. Each change is repeatable and has its undo, which is told what `app:look` found before the run.

local container = require "deploy.app.container"
local fail = require "native.fail"
local health = require "deploy.app.health"
local hosts_module = require "deploy.host"
local pick = require "deploy.app.pick"
local reach = require "deploy.app.reach"
local replacing = require "deploy.replacing"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Accessories = {}

local LABEL, LABEL_OF = "deployrun.accessory", "deployrun.accessory_of"

--- @class AccessorySeen  what a look found of one
--- @field id string?      its container
--- @field state string?
--- @field aside string?   a container that was set aside for it, and left

local function is_among(name, only)
  if not only then return true end
  for _, one in ipairs(only) do
    if one == name then return true end
  end
  return false
end

--- The accessories of a server.
--- @param host Host
--- @param only? string[]  these alone
--- @return AccessoryConfig[]
function Accessories:accessories(host, only)
  local out = {}
  for _, one in ipairs(self.config.accessories or {}) do
    local here = not one.hosts and host.name == self.hosts[1].name or false
    for _, name in ipairs(one.hosts or {}) do here = here or name == host.name or name == (host._spec or {}).address end
    if here and is_among(one.name, only) then out[#out + 1] = one end
  end
  return out
end

--- The servers that have accessories. Raises `usage` for a name that the settings do not have.
--- @param only? string[]  these alone
--- @return Host[]
function Accessories:accessory_hosts(only)
  local known, names, out = {}, {}, {}
  for index, one in ipairs(self.config.accessories or {}) do known[one.name], names[index] = true, one.name end
  for _, name in ipairs(only or {}) do
    if not known[name] then
      fail.usage(("no accessory is called %s"):format(name), { hint = text.nearest_hint(name, names), token = name })
    end
  end
  for _, host in ipairs(self.hosts) do
    if #self:accessories(host, only) > 0 then out[#out + 1] = host end
  end
  return out
end

--- Of a server's containers, the accessories of this app, by name. For `app:look`.
--- @param entries table[]  of `docker:list`
--- @return table<string, AccessorySeen>
function Accessories:_accessories_among(entries)
  local out = {}
  for _, entry in ipairs(entries) do
    local labels = entry.labels or {}
    if labels[LABEL_OF] == self.config.service and labels[LABEL] then
      local seen = out[labels[LABEL]] or {}
      if entry.name:sub(-#replacing.ASIDE) == replacing.ASIDE then
        seen.aside = entry.id
      else
        seen.id, seen.state = entry.id, entry.state
      end
      out[labels[LABEL]] = seen
    end
  end
  return out
end

local function digest_of(settings, one)
  return container.digest(container.canonical {
    image = one.image, network = settings.network, cmd = one.cmd or false, env = one.env, secrets = one.secrets,
    labels = one.labels, volumes = one.volumes, publish = one.publish, restart = one.restart,
    memory = one.memory or false, stop_timeout = one.stop_timeout,
  })
end

local function spec_of(settings, one)
  local env, labels = {}, {}
  for name, value in pairs(one.env) do env[name] = tostring(value) end
  for name, value in pairs(one.secret_values) do env[name] = value end
  for name, value in pairs(one.labels) do labels[name] = tostring(value) end
  labels[LABEL], labels[LABEL_OF], labels[container.LABEL_CONFIG] = one.name, settings.service, digest_of(settings, one)
  return {
    name = one.container, image = one.image, cmd = one.cmd, env = env, labels = labels, network = settings.network,
    volumes = one.volumes, publish = #one.publish > 0 and one.publish or nil, restart = one.restart,
    memory = one.memory, stop_timeout = one.stop_timeout, log_driver = "json-file",
    log_options = { ["max-size"] = "10m" },
  }
end

--- Its container as it is now; nil for none. Raises `docker.conflict` where somebody else's has the name.
local function inspect(self, host, one)
  local found = try(host.docker.inspect, host.docker, one.container)
  local labels = found and (found.labels or {})
  if found and not (labels[LABEL_OF] == self.config.service and labels[LABEL] == one.name) then
    fail.raise("docker.conflict", ("a container that is no accessory of %s is called %s"):format(self.config.service,
      one.container), { host = host.name, hint = "rename that one, or the accessory" })
  end
  return found
end

--- What makes it another one than the settings say, in a word; nil: nothing does.
local function difference(self, host, one, found)
  if found.labels[container.LABEL_CONFIG] ~= digest_of(self.config, one) then return "settings" end
  local image = try(host.docker.inspect_image, host.docker, one.image)
  if image and image.id ~= found.image_id then return "image" end
  for _, name in ipairs(one.secrets) do
    if not one.secret_values[name]:equals(found.env[name] or "") then return name end
  end
end

local function registry_of(image)
  local first = image:match("^([^/]+)/")
  return first and (first == "localhost" or first:find("[.:]")) and first or "docker.io"
end

--- Its image: from this machine where the app's own comes from here, else from its registry. The app's password is for
--- the app's registry alone.
local function fetch(self, host, one)
  local progress = report.progress(host, "pull.progress")
  if self.config.pull == "ship" then
    return host.docker:ship(one.image, { from = hosts_module.localhost.docker, on_progress = progress })
  end
  local ours = registry_of(one.image) == registry_of(self.config.image)
  return host.docker:pull(one.image, { credentials = ours and self._credentials or nil, on_progress = progress })
end

--- Once for all of them: two that ask at the same moment would make it twice.
local function provide_network(self, host)
  if not try(host.docker.inspect_network, host.docker, self.config.network) then
    host.docker:create_network(self.config.network)
  end
end

local function wait_ready(self, host, one, id, state)
  return health.wait_ready(host, { id = id, name = one.container }, { health = one.health, settle = one.settle },
    self.config.network, state)
end

local function make(self, host, one)
  local id = host.docker:create(spec_of(self.config, one)).id
  host.docker:start(id)
  return id
end

local function seen_of(before, one) return (before.accessories or {})[one.name] or {} end

local function boot(self, host, one, before)
  local found, old = inspect(self, host, one), seen_of(before, one)
  if found and found.running then
    -- One that an earlier attempt started may not be ready yet.
    if not (old.id == found.id and old.state == "running") then wait_ready(self, host, one, found.id, "woken") end
    local changed = difference(self, host, one, found)
    local note = changed and ("%s: its %s changed, `reboot` replaces it"):format(one.name, changed)
    return { changed = false, note = note }
  end
  if found and found.id ~= old.id then  -- half made by this run
    host.docker:remove(found.id, { force = true })
    found = nil
  end
  local id = found and found.id
  if id then
    host.docker:start(id)
  else
    if not try(host.docker.inspect_image, host.docker, one.image) then fetch(self, host, one) end
    id = make(self, host, one)
  end
  wait_ready(self, host, one, id, found and "woken" or "new")
  return { changed = true, note = one.name }
end

local function told(results)
  local notes, unchanged = {}, true
  for _, one in ipairs(results) do
    notes[#notes + 1] = one.note or nil
    unchanged = unchanged and not one.changed
  end
  return { unchanged = unchanged, note = #notes > 0 and table.concat(notes, "; ") or nil }
end

--- Sees to it that a server's accessories run, and waits until each is ready. What runs stays as it is, also where the
--- settings have changed: then its note says so. Raises `app.unready`, `app.exited`, `docker.conflict`.
--- @async
--- @param host Host
--- @param before Look
--- @param only? string[]  these alone
--- @return { unchanged: boolean, note: string? }
function Accessories:boot_accessories(host, before, only)
  local list = self:accessories(host, only)
  for _, one in ipairs(list) do
    if seen_of(before, one).state ~= "running" then
      provide_network(self, host)
      break
    end
  end
  return told(side_by_side(list, "boot", function(one) return boot(self, host, one, before) end))
end

--- Takes back a boot: what the run made goes, what it started is stopped.
--- @async
--- @param host Host
--- @param before Look
--- @param only? string[]
function Accessories:unboot_accessories(host, before, only)
  side_by_side(self:accessories(host, only), "undo boot", function(one)
    local old, now = seen_of(before, one), try(host.docker.inspect, host.docker, one.container)
    if not now or (now.labels or {})[LABEL_OF] ~= self.config.service then return end
    if now.running and not (old.id == now.id and old.state == "running") then host.docker:stop(now.id) end
    if now.id ~= old.id then host.docker:remove(now.id, { force = true }) end
  end)
end

local function reboot(self, host, one, before, force)
  local found, old = inspect(self, host, one), seen_of(before, one)
  if not found and not try(host.docker.inspect, host.docker, one.container .. replacing.ASIDE) then
    return boot(self, host, one, before)
  end
  fetch(self, host, one)
  local same = found and found.running and not difference(self, host, one, found)
  if found and found.id ~= old.id then  -- an earlier attempt's: whole, or not
    if same then
      wait_ready(self, host, one, found.id, "woken")
      return { changed = true, note = one.name }
    end
  elseif same and not force then
    return { changed = false }
  elseif old.aside then
    -- Left by a run long ago; what is set aside from now on is what runs.
    try(host.docker.remove, host.docker, old.aside, { force = true })
  end
  replacing.set_aside(host, one.container)
  wait_ready(self, host, one, make(self, host, one), "new")
  return { changed = true, note = one.name }
end

--- Replaces a server's accessories where their settings, secrets or image changed: the image is fetched, the old
--- container is stopped and set aside, the new one has its volumes. Raises as `boot_accessories`.
--- @async
--- @param host Host
--- @param before Look
--- @param given? { only?: string[], force?: boolean }  force: also where nothing has changed
--- @return { unchanged: boolean, note: string? }
function Accessories:reboot_accessories(host, before, given)
  given = given or {}
  stopping.begin(host)
  provide_network(self, host)
  return told(side_by_side(self:accessories(host, given.only), "reboot", function(one)
    return reboot(self, host, one, before, given.force)
  end))
end

--- Takes that back: the old containers run again, and are ready.
--- @async
--- @param host Host
--- @param before Look
--- @param only? string[]
function Accessories:unreboot_accessories(host, before, only)
  side_by_side(self:accessories(host, only), "undo reboot", function(one)
    local old, aside = seen_of(before, one), try(host.docker.inspect, host.docker, one.container .. replacing.ASIDE)
    local is_ours = aside and aside.id ~= old.aside
    if is_ours or not aside and old.state == "running" then
      replacing.restore(host, one.container, function(id) wait_ready(self, host, one, id, "woken") end,
        one.stop_timeout)
    end
  end)
  self:unboot_accessories(host, before, only)
end

--- Lets go of what reboots set aside; the volumes stay. For a final step.
--- @async
--- @param host Host
--- @param only? string[]
function Accessories:forget_accessories(host, only)
  side_by_side(self:accessories(host, only), "forget", function(one) replacing.forget(host, one.container) end)
end

--- Stops a server's accessories.
--- @async
--- @param host Host
--- @param only? string[]
--- @return { unchanged: boolean, note: string? }
function Accessories:stop_accessories(host, only)
  stopping.begin(host)
  return told(side_by_side(self:accessories(host, only), "stop", function(one)
    local found = inspect(self, host, one)
    if not found or not found.running then return { changed = false } end
    stopping.stop(host, found.id, one.name, one.stop_timeout)
    return { changed = true, note = one.name }
  end))
end

--- Takes that back: what ran before runs again, and is ready.
--- @async
--- @param host Host
--- @param before Look
--- @param only? string[]
function Accessories:unstop_accessories(host, before, only)
  side_by_side(self:accessories(host, only), "undo stop", function(one)
    local old = seen_of(before, one)
    if old.state ~= "running" then return end
    if stopping.wake(host, old.id, one.stop_timeout) then wait_ready(self, host, one, old.id, "woken") end
  end)
end

--- Removes the stopped containers of a server's accessories. Images and volumes stay. For a final step.
--- @async
--- @param host Host
--- @param only? string[]
--- @return { unchanged: boolean, note: string? }
function Accessories:remove_accessories(host, only)
  return told(side_by_side(self:accessories(host, only), "remove", function(one)
    local found = inspect(self, host, one)
    if found then host.docker:remove(found.id) end
    return { changed = found ~= nil, note = found and one.name or nil }
  end))
end

local function reached(self, host, one, networks)
  local found = inspect(self, host, one)
  if not found then return false, "it is not there" end
  if not found.running then return false, ("it does not run: exit code %s"):format(tostring(found.exit_code or "?")) end
  local ip = reach.address(found, networks)
  if not ip then return false, "it is in no network of the app's containers" end
  local port = one.health and one.health.port or one.port
  if not port then return true end
  return reach.ask(host, found, ip, port, one.health)
end

--- The networks of the containers that serve here; before anything does, the app's own.
local function networks_of(self, host)
  local look, out = self:look(host), {}
  for _, role in ipairs(self:roles(host)) do
    local current = pick.current(look, role)
    local found = current and current.state == "running" and try(host.docker.inspect, host.docker, current.id)
    for name, attached in pairs(found and found.networks or {}) do out[name] = attached end
  end
  if not next(out) then out[self.config.network] = true end
  return out
end

--- Asks each accessory of a server from the network of the app's containers there, as its health says (an open port
--- where it says nothing). Raises `app.accessory`, which names all that are not reached.
--- @async
--- @param host Host
--- @param only? string[]
--- @return { note: string }
function Accessories:reach_accessories(host, only)
  local networks, names, missing = networks_of(self, host), {}, {}
  local list = self:accessories(host, only)
  local answers = side_by_side(list, "reach", function(one)
    local ok, why = reached(self, host, one, networks)
    return { ok = ok, why = why }
  end)
  for index, one in ipairs(list) do
    names[index] = one.name
    if not answers[index].ok then missing[#missing + 1] = ("%s: %s"):format(one.name, answers[index].why) end
  end
  if #missing > 0 then
    fail.raise("app.accessory", "the app does not reach " .. table.concat(missing, "; "), { host = host.name,
      hint = "`deployrun recipes/accessories.lua boot` starts what is down; its logs say why it ended" })
  end
  return { note = table.concat(names, ", ") }
end

--- A line for each accessory of a server: how it is, its image, what has changed in the settings since.
--- @async
--- @param host Host
--- @param only? string[]
--- @return string
function Accessories:accessory_status(host, only)
  local lines = side_by_side(self:accessories(host, only), "status", function(one)
    local found = inspect(self, host, one)
    if not found then return ("%-10s not there   %s\n"):format(one.name, one.image) end
    local state = found.running and "runs" or ("%s (%s)"):format(found.state, tostring(found.exit_code))
    local changed = difference(self, host, one, found)
    return ("%-10s %-11s %s%s\n"):format(one.name, state, found.image,
      changed and ("  (%s changed since: reboot)"):format(changed) or "")
  end)
  return table.concat(lines)
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Accessories) do app[name] = fn end
end

return M
