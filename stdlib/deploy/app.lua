--- An app: its settings, its servers, and what is there now. What a release of it means on one server is release.lua's
--- business, steps and their order are the recipe's, traffic is the proxy's.

local accessories = require "deploy.app.accessories"
local back = require "deploy.app.back"
local candidates = require "deploy.app.candidates"
local config = require "deploy.app.config"
local container = require "deploy.app.container"
local fail = require "native.fail"
local host_module = require "deploy.host"
local image_module = require "deploy.app.image"
local kinds = require "proxy.kinds"
local lock = require "deploy.lock"
local pick = require "deploy.app.pick"
local records = require "deploy.app.records"
local release = require "deploy.app.release"
local report = require "native.report"
local secrets = require "deploy.secrets"
local side_by_side = require "deploy.side_by_side"
local text = require "native.text"
local vitals = require "deploy.app.vitals"
local yaml = require "native.yaml"

local App = {}
App.__index = App
local M = {}

--- Every app that was read, for whoever explains a failure (doctor/afterwards.lua).
M._made = {}

--- @class Look  what is on a server before a run changes anything
--- @field image string?     ID of the version's image; nil: not there
--- @field containers table<string, Facts>  of this service, by name
--- @field proxy ProxyLook
--- @field routes table<string, { container: string, port: integer }>  by role: what gets its traffic
--- @field nameless string[]  IDs of images without a name, where an image will be pulled
--- @field records ReleaseRecord[]?  what the server remembers, where that was asked
--- @field accessories table<string, AccessorySeen>?  by name, of an app that has some

--- @class App
--- @field config AppConfig
--- @field hosts Host[]      every server once, the primary role's first
--- @field proxy Proxy

local function read(source)
  if type(source) == "table" then return source, "deploy.app" end
  local value, places = yaml.load(source)
  return value, source, places
end

--- Reads and checks everything there is to say about an app, its secrets too; connects to nothing.
--- Raises `config.invalid`, `secret.missing`, `yaml.*`.
--- @async
--- @param source string|table  a YAML file, or the same as a table
--- @return App
function M.app(source)
  if type(source) ~= "string" and type(source) ~= "table" then
    fail.usage("deploy.app: expected a file or a table, got a " .. type(source))
  end
  return M._assemble(config.complete(read(source)), App)
end

--- What an app consists of, from its settings: servers, secrets, proxy, lock. Raises `secret.missing`.
--- @param settings AppConfig
--- @param class table  App, or one that is an App where it says nothing else
function M._assemble(settings, class)
  local self = setmetatable({ config = settings, hosts = {}, _roles = {} }, class)
  local store = secrets.open(settings.secrets)
  local missing = {}
  local function found(name)
    if secrets._is_recording() then return store:get(name) end
    local value = store:try_get(name)
    if not value and not missing[name] then
      missing[name] = true
      missing[#missing + 1] = select(2, pcall(store.get, store, name))
    end
    return value
  end
  for _, role in ipairs(settings.roles) do
    role.secret_values = {}
    for _, name in ipairs(role.secrets) do role.secret_values[name] = found(name) end
    for _, entry in ipairs(role.hosts) do self:_place(host_module.host(entry, settings.ssh, store), role) end
  end
  for _, one in ipairs(settings.accessories or {}) do
    one.secret_values = {}
    for _, name in ipairs(one.secrets) do one.secret_values[name] = found(name) end
  end
  local registry = settings.registry
  if registry and registry.password then
    local password = registry.password
    if type(password) == "string" then password = found(password) end
    self._credentials = { username = registry.username, password = password }
  end
  local first = table.remove(missing, 1)
  if first then
    if #missing > 0 then first.also = missing end
    error(first, 0)
  end
  M._made[#M._made + 1] = self
  self.proxy = require(kinds.all[settings.proxy.kind].module).new(settings.proxy, settings)
  if settings.lock ~= false then
    local lease = type(settings.lock) == "table" and settings.lock.lease
    lock.declare(settings.service, self.hosts, lease and text.parse_duration(lease) or nil)
  end
  return self
end

function App:_place(host, role)
  if not self._roles[host.name] then
    self._roles[host.name] = {}
    self.hosts[#self.hosts + 1] = host
  end
  table.insert(self._roles[host.name], role)
end

--- The roles of a server.
--- @param host Host
--- @return RoleConfig[]
function App:roles(host) return self._roles[host.name] or {} end

--- The roles of a server that stand behind the proxy.
--- @param host Host
--- @return RoleConfig[]
function App:proxied(host)
  local out = {}
  for _, role in ipairs(self:roles(host)) do
    if role.proxied then out[#out + 1] = role end
  end
  return out
end

--- The image of a version. Raises `usage` for what cannot be a tag.
--- @param version string
--- @return string
function App:image(version)
  if not container.is_version(version) then
    fail.usage(("`%s` cannot be a version"):format(tostring(version)),
      { hint = "letters, digits, _, . and -, 128 at most", token = tostring(version) })
  end
  return self.config.image .. ":" .. version
end

local function is_ours(self, entry) return (entry.labels or {}).service == self.config.service end

--- This service's containers on a server, by name.
--- @async
--- @param host Host
--- @return table<string, Facts>
function App:containers(host)
  return self:_facts(host.docker:list { all = true, labels = { "service=" .. self.config.service } })
end

-- The engine lists by its own clock, newest first, and finer than the seconds that it tells (moby:daemon/list.go).
function App:_facts(entries)
  local by_name, rank = {}, 0
  for _, entry in ipairs(entries) do
    if is_ours(self, entry) then
      rank = rank + 1
      by_name[entry.name] = container.facts(entry, rank)
    end
  end
  return by_name
end

--- What is on a server now. Changes nothing.
--- @async
--- @param host Host
--- @param version? string  whose image is looked for
--- @return Look
function App:look(host, version)
  local look = { routes = {}, nameless = {} }
  -- The list first: connections open one after the other, a round trip each, and the deploy lock's is wanted too.
  local entries = host.docker:list { all = true }
  side_by_side({
    function() look.proxy = self.proxy:look(host) end,
    function()
      if version then look.image, look.nameless = self:look_at_images(host, version) end
    end,
  }, "look", function(fn) fn() end)
  look.containers = self:_facts(entries)
  if #(self.config.accessories or {}) > 0 then look.accessories = self:_accessories_among(entries) end
  self:_take_routes(host, look, entries)
  return look
end

--- Notes what gets each role's traffic. What a proxy wrote down counts while the proxy runs and as far as it agrees
--- with what runs; else it is asked.
function App:_take_routes(host, look, entries)
  local up, proxy = {}, look.proxy
  for _, entry in ipairs(entries) do
    if entry.state == "running" then up[entry.name], up[entry.id:sub(1, 12)] = true, true end
  end
  if proxy.written and not up[self.proxy.container] then
    proxy = self.proxy:ask(host)
    look.proxy = proxy
  end
  for _, role in ipairs(self:proxied(host)) do
    local name = container.route_name(self.config.service, role.name)
    local route = proxy.routes[name]
    if proxy.written and not (route and up[route.container]) then
      proxy.routes, proxy.written = self.proxy:routes(host), false
      route = proxy.routes[name]
    end
    look.routes[role.name] = route
  end
end

--- The container that serves a role on a server. Raises `app.not_running`.
--- @async
--- @param host Host
--- @param role_name? string  default: the server's first role
--- @return Facts
function App:serving(host, role_name)
  local look = self:look(host)
  for _, role in ipairs(self:roles(host)) do
    local current = (not role_name or role.name == role_name) and pick.current(look, role)
    if current then return current end
  end
  fail.raise("app.not_running", ("nothing of %s serves on %s"):format(self.config.service, host.name),
    { host = host.name, hint = "deploy first" })
end

--- Asks every server side by side, shows what each says in the order of the servers, then raises the first failure.
--- @async
--- @param fn fun(host: Host): string, table?  text to show, and an error beside it
function App:show(fn)
  local said = side_by_side(self.hosts, "show", function(host)
    local ok, said, err = pcall(fn, host)
    if ok then return { text = said, error = err } end
    return { text = "", error = fail.normal(said) }
  end)
  local first
  for index, host in ipairs(self.hosts) do
    local one = said[index]
    if one.text ~= "" then report.text(one.text, host.name) end
    if one.error and first then
      first.also = first.also or {}
      table.insert(first.also, one.error)
    end
    first = first or one.error
  end
  if first then error(first, 0) end
end

--- What serves on a server and what is kept beside it, a line per role.
--- @async
--- @param host Host
--- @return string
function App:status(host)
  local look, lines = self:look(host), {}
  for _, role in ipairs(self:roles(host)) do
    local current, kept = pick.current(look, role), {}
    for _, facts in ipairs(pick.releases(look, role.name)) do
      if not (current and facts.id == current.id) then
        kept[#kept + 1] = facts.version .. (facts.state == "running" and " (runs)" or "")
      end
    end
    local serves = current and ("%s (%s)"):format(current.version or current.name, current.state) or "nothing serves"
    local beside = #kept > 0 and ", kept: " .. table.concat(kept, " ") or ""
    lines[#lines + 1] = ("%-10s %s%s\n"):format(role.name, serves, beside)
  end
  return table.concat(lines)
end

--- The last log lines of what serves.
--- @async
--- @param host Host
--- @param given? { lines?: integer, role?: string }
--- @return string
function App:logs(host, given)
  given = given or {}
  return host.docker:logs(self:serving(host, given.role).id, { tail = given.lines or 100 }).text
end

--- Runs a command inside what serves: what it says, and `app.exec` for an exit code other than 0.
--- @async
--- @param host Host
--- @param command string[]
--- @param given? { role?: string }
--- @return string
--- @return table? error
function App:exec(host, command, given)
  local target = self:serving(host, given and given.role)
  local result = host.docker:exec(target.id, command)
  local said = result.stdout .. result.stderr
  if result.code == 0 then return said end
  local message = ("%s in %s: exit code %d"):format(command[1], target.name, result.code)
  return said, fail.make("app.exec", message, { host = host.name, code = result.code })
end

--- The four health endpoints of what serves, in one call: `/healthz` (the process answers), `/health/live` (liveness
--- decides a restart), `/health/ready` (readiness decides traffic), `/health` (everything).
--- @async
--- @param host Host
--- @param given? { role?: string, paths?: table<string, string> }  paths: others, by endpoint
--- @return Vitals
function App:vitals(host, given)
  given = given or {}
  local serving = self:serving(host, given.role)
  for _, role in ipairs(self:roles(host)) do
    if role.name == serving.role then
      local port = role.health and role.health.port or 80
      return vitals.ask(host, serving.id, port, self.config.network, given.paths)
    end
  end
end

accessories.extend(App)
back.extend(App)
candidates.extend(App)
image_module.extend(App)
records.extend(App)
release.extend(App)

M._App = App

return M
