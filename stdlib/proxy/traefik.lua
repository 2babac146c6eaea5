--- Traefik (3.0 or later) in a container of its own. A service is a file; Traefik watches their folder and takes what
--- changes without closing a connection. What it really runs is read from its own API, which listens on the
--- container's loopback and is asked through `docker exec`.
---
--- On the server, mounted read-only at /deployrun:
---   .deployrun/traefik/services/<service>.yml  its names, its target, whether it is down for maintenance
---   .deployrun/traefik/plugins-local/          what answers then

local config = require "proxy.traefik_config"
local door = require "native.door"
local fail = require "native.fail"
local folder = require "proxy.folder"
local plugin = require "proxy.traefik_maintenance"

local M = {}
local Proxy = setmetatable({}, { __index = folder.Proxy })
Proxy.__index = Proxy

M.CONTAINER = "traefik"
M.IMAGE = "traefik:v3"

local NOT_TAKEN = "traefik did not take its new configuration"
local READY = 10000  -- ms until it has started, or runs what a file says

-- Lines of shell, run in the folder; $1: the service.
local LIST = [[
for f in services/*.yml; do [ ! -f "$f" ] || head -n 1 "$f" | sed "s|^|$f |"; done]]
local REMOVE = 'rm -f "services/$1.yml"'

--- @param settings table   `proxy` of the app's settings
--- @param app AppConfig
--- @return Proxy
function M.new(settings, app)
  return setmetatable(folder.init(settings, app, {
    container = settings.name or M.CONTAINER, image = settings.image or M.IMAGE, volumes = {},
  }), Proxy)
end

--- What its container is made of.
function Proxy:spec(host)
  return self:_spec {
    volumes = { self:_path(host) .. ":/deployrun:ro" },
    workdir = "/deployrun", cmd = config.arguments("/deployrun/services"),
  }
end

function Proxy:_prepare(host)
  self:_at_folder(host, "mkdir -p services", {})
  for name, bytes in pairs(plugin.FILES) do self:_write(host, name, bytes) end
end

--- What it runs, by its own word.
function Proxy:_ask(host)
  return self:_inside(host, "wget, of Traefik's API", { "wget", "-qO-", ("http://%s/api/rawdata"):format(config.API) },
    { reads = true })
end

function Proxy:_await_ready(host)
  local words = ("until %s answers"):format(self.container)
  self:_await(host, words, READY, { kind = "proxy.boot", message = "traefik does not answer" },
    function() return self:_ask(host) ~= "" end)
end

local function file_of(service) return ("services/%s.yml"):format(service) end

--- Writes a service's file; returns once Traefik runs that. One that it does not take is as it was again.
function Proxy:_apply(host, service, what, page)
  local file = file_of(service)
  local problem = { kind = "proxy.command", message = NOT_TAKEN }
  local before, mark = self:_read(host, file), config.mark(service, what)
  self:_write(host, file, config.service(service, what, page))
  local ok, err = pcall(self._await, self, host, ("until %s runs with that"):format(self.container), READY, problem,
    function()
      local runs, said = config.runs(self:_ask(host), service, mark)
      if said then problem.message = "traefik: " .. said end
      return runs
    end)
  if ok then return end
  if before ~= "" then self:_write(host, file, before) else self:_at_folder(host, REMOVE, { service }) end
  error(err, 0)
end

function Proxy:look(host) return self:_look_by_files(host) end

--- Every service and its target, as the files say.
--- @async
function Proxy:routes(host) return M.parse_routes(self:_look_at_folder(host, LIST)) end

--- @param listing string  lines of a file's name and its first line
--- @return table<string, table>
function M.parse_routes(listing)
  return folder.parse_routes(listing, "^services/(%S+)%.yml (.*)$", config.header)
end

--- Sends a service's traffic to a container; returns when new requests go there. Requests under way end where they are.
--- @async
--- @param host Host
--- @param service string
--- @param to { container: string, route: table }
function Proxy:switch(host, service, to)
  local found = self:routes(host)[service] or { state = "running" }
  -- A maintenance ends with `resume`, as behind the other proxies.
  local page = found.page and self:_answer().page
  self:_apply(host, service, { container = to.container:sub(1, 12), port = to.route.app_port, state = found.state,
    retry_after = found.retry_after, message = found.message, page = page and folder.digest(page), route = to.route },
    page)
end

--- Forgets a service.
--- @async
function Proxy:remove(host, service)
  self:_at_folder(host, REMOVE, { service })
  self:_await(host, ("until %s has forgotten %s"):format(self.container, service), READY,
    { kind = "proxy.command", message = NOT_TAKEN },
    function() return config.runs(self:_ask(host), service, "") == nil end)
end

--- Raises `proxy.unsupported`.
function Proxy:pause() self:needs("pause") end

--- A service whose configuration names a plugin that Traefik does not know would answer 404.
function Proxy:_needs_plugin(host)
  for _, word in ipairs(host.docker:inspect(self.container).cmd) do
    if word == plugin.ARGUMENT then return end
  end
  fail.raise("proxy.command", ("the container %s was started without what answers in a maintenance"):format(
    self.container), { host = host.name, hint = ("docker rm -f %s, in a quiet moment, and deploy: it is started anew")
    :format(self.container) })
end

--- Answers 503 with a page or a message to everything.
--- @async
function Proxy:maintenance(host, service, message)
  self:_needs_plugin(host)
  local answer = self:_answer(message)
  if answer.page then answer.message = nil end
  self:_change(host, service, "maintenance", answer)
end

--- Ends a maintenance.
--- @async
function Proxy:resume(host, service) self:_change(host, service, "running", {}) end

door.guard("proxy", Proxy, { reads = { "routes" } })

return M
