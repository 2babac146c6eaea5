--- What every proxy has in common: a container of its own on each server, booted when it is missing, and taken back
--- with what came with it. The six calls of a proxy (switch, pause, resume, maintenance, drain, status) are its own.

local fail = require "native.fail"
local kinds = require "proxy.kinds"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local RETRY_AFTER = 5  -- s, where no app says

local Proxy = {}
Proxy.__index = Proxy
M.Proxy = Proxy

--- @class Proxy
--- @field look fun(self: Proxy, host: Host): ProxyLook
--- @field ask fun(self: Proxy, host: Host): ProxyLook
--- @field boot fun(self: Proxy, host: Host, before: Look): { unchanged: boolean }
--- @field unboot fun(self: Proxy, host: Host, before: Look)
--- @field target fun(self: Proxy, host: Host, service: string): { container: string, port: integer }?
--- @field prepare_switch fun(self: Proxy, host: Host, service: string, to: { container: string, route: table })
--- @field switch fun(self: Proxy, host: Host, service: string, to: { container: string, route: table })
--- @field remove fun(self: Proxy, host: Host, service: string)
--- @field drain fun(self: Proxy, host: Host, service: string, ids: string[], route: table)
--- @field pause fun(self: Proxy, host: Host, service: string, options?: table)
--- @field resume fun(self: Proxy, host: Host, service: string, to?: { container: string, route: table })
--- @field maintenance fun(self: Proxy, host: Host, service: string, message?: string,
---   to?: { container: string, route: table })
--- @field status fun(self: Proxy, host: Host): table<string, table>

--- @class ProxyLook
--- @field state "running"|"stopped"|"missing"
--- @field image boolean      its image is there (asked only where the container is missing)
--- @field network boolean    the app's network is there (asked only where the container does not run)
--- @field volumes string[]   those of its volumes that exist (asked only where the container is missing)
--- @field routes table<string, { container: string, port: integer }>
--- @field written? boolean   read from what the proxy wrote down, not asked of it: it may be down

--- @param settings table
--- @param app AppConfig
--- @param made_of { container: string, image: string, volumes: string[] }
--- @return table
function M.init(settings, app, made_of)
  return { settings = settings, app = app, container = made_of.container, image = made_of.image,
    volumes = made_of.volumes, lacks = (kinds.all[settings.kind] or {}).lacks or {} }
end

--- Refuses a recipe that asks for what this proxy cannot do, when it is read and not in the middle of a deploy.
--- @param ability string
function Proxy:needs(ability)
  if self.lacks[ability] then
    fail.raise("proxy.unsupported", ("%s cannot %s: %s"):format(self.settings.kind, ability, self.lacks[ability]))
  end
end

--- The container's description; ports are published where the settings say.
function Proxy:_spec(own)
  local settings = self.settings
  local address = settings.bind and settings.bind .. ":" or ""
  local publish = { ("%s%d:80"):format(address, settings.http_port) }
  if settings.https_port then publish[#publish + 1] = ("%s%d:443"):format(address, settings.https_port) end
  local spec = { name = self.container, image = self.image, network = self.app.network, publish = publish,
    restart = "unless-stopped", log_options = { ["max-size"] = "10m" } }
  for key, value in pairs(own) do spec[key] = value end
  return spec
end

--- Raises `proxy.command` for an exit code other than 0, with what the command said.
--- @param host Host
--- @param what string  the command, in a few words
--- @param result { stdout: string, stderr: string, code?: integer }  of docker:exec
function Proxy:_check(host, what, result)
  if result.code == 0 then return end
  local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
  fail.raise("proxy.command", ("%s: %s"):format(what, said), { host = host.name, code = result.code, stderr = said })
end

--- Runs a command in the proxy's container; returns what it printed.
--- @async
--- @param host Host
--- @param what string  the command, in a few words
--- @param argv string[]
--- @param options? table  of docker:exec
--- @return string stdout
function Proxy:_inside(host, what, argv, options)
  local result = host.docker:exec(self.container, argv, options)
  self:_check(host, what, result)
  return result.stdout
end

--- Every service: target, state (running, paused, stopped, maintenance).
--- @async
--- @param host Host
--- @return table<string, table>
function Proxy:status(host) return self:routes(host) end

--- What gets a service's traffic.
--- @async
--- @param host Host
--- @param service string
--- @return { container: string, port: integer }?
function Proxy:target(host, service) return self:routes(host)[service] end

--- Does ahead what a switch that comes in a moment can do without; changes nothing. Hook.
--- @async
function Proxy:prepare_switch(_host, _service, _to) end

--- @async
--- @param host Host
--- @return ProxyLook
function Proxy:look(host) return self:ask(host) end

--- As `look`, from the proxy itself and never from what it wrote down.
--- @async
--- @param host Host
--- @return ProxyLook
function Proxy:ask(host)
  -- Most often it runs; then its answer is all there is to ask for.
  local ok, routes = pcall(self.routes, self, host)
  if ok then return { state = "running", routes = routes } end
  local kind = fail.normal(routes).kind
  if kind ~= "docker.not_found" and kind ~= "docker.conflict" then error(routes, 0) end
  return self:_look_at_rest(host, kind == "docker.conflict" and "stopped" or "missing")
end

--- What a boot would change.
function Proxy:_look_at_rest(host, state)
  local look = { state = state, routes = {}, volumes = {} }
  look.network = try(host.docker.inspect_network, host.docker, self.app.network) ~= nil
  if state == "missing" then
    look.image = try(host.docker.inspect_image, host.docker, self.image) ~= nil
    for _, name in ipairs(self.volumes) do
      if try(host.docker.inspect_volume, host.docker, name) then look.volumes[#look.volumes + 1] = name end
    end
  end
  return look
end

--- What a maintenance answers: the app's page, or a message, where that is given over the app's own.
--- @param message? string
--- @return Maintenance
function Proxy:_answer(message)
  local own = self.app.maintenance or {}
  return { page = own.page, retry_after = own.retry_after or RETRY_AFTER,
    message = message and message ~= "" and message or own.message or "down for maintenance" }
end

--- Hook for what has to be there before the container is made.
function Proxy:_prepare(_host) end

--- Hook for taking that back.
function Proxy:_unprepare(_host, _was) end

--- Sees to it that the proxy runs: network, image, container. Changes nothing where it did when the run began.
--- @async
--- @param host Host
--- @param before Look
--- @return { unchanged: boolean }
function Proxy:boot(host, before)
  if before.proxy.state == "running" then return { unchanged = true } end
  local docker = host.docker
  local found = try(docker.inspect, docker, self.container)
  if not try(docker.inspect_network, docker, self.app.network) then docker:create_network(self.app.network) end
  self:_prepare(host)
  if not found then
    if not try(docker.inspect_image, docker, self.image) then docker:pull(self.image) end
    docker:create(self:spec(host))
  end
  docker:start(self.container)
  self:_await_ready(host)
  return { unchanged = false }
end

--- Takes back a boot.
--- @async
--- @param host Host
--- @param before Look
function Proxy:unboot(host, before)
  local docker, was = host.docker, before.proxy
  if was.state == "running" then return end
  if was.state == "stopped" then
    try(docker.stop, docker, self.container)
    return
  end
  try(docker.remove, docker, self.container, { force = true, volumes = true })
  local kept = {}
  for _, name in ipairs(was.volumes or {}) do kept[name] = true end
  for _, name in ipairs(self.volumes) do
    if not kept[name] then try(docker.remove_volume, docker, name) end
  end
  self:_unprepare(host, was)
  if not was.image then try(docker.remove_image, docker, self.image) end
  if not was.network then try(docker.remove_network, docker, self.app.network) end
end

return M
