--- What a server runs of an app: its containers by role, and which of them is current. That is read from the proxy and
--- from the containers, never from a tag: a tool that was interrupted between the two leaves the tag behind.

local kamal_proxy = require "proxy.kamal_proxy"
local naming = require "kamal.naming"
local try = require "deploy.try"

local M = {}

local STATE_FILE = "/home/kamal-proxy/.config/kamal-proxy/kamal-proxy.state"

--- @class KamalContainer
--- @field id string
--- @field name string
--- @field version string
--- @field running boolean
--- @field created integer
--- @field image_id string

--- @class KamalLook
--- @field roles table<string, { containers: KamalContainer[], current?: KamalContainer }>  newest first
--- @field routes table<string, { container: string, state: string }>
--- @field proxy "running"|"stopped"|"missing"
--- @field latest? string  the image ID of the latest tag

--- The proxy's services; what it wrote down, or what it says.
--- @async
--- @param host Host
--- @return table<string, table> routes
--- @return "running"|"stopped"|"missing" state
function M.routes(host)
  local found = try(host.docker.inspect, host.docker, naming.PROXY_CONTAINER)
  if not found then return {}, "missing" end
  if not found.running then return {}, "stopped" end
  local bytes = try(host.docker.read, host.docker, naming.PROXY_CONTAINER, STATE_FILE)
  local routes = bytes and kamal_proxy.parse_state(bytes)
  if routes then return routes, "running" end
  local listed = host.docker:exec(naming.PROXY_CONTAINER, { "kamal-proxy", "list" }, { reads = true })
  return listed.code == 0 and kamal_proxy.parse_list(listed.stdout) or {}, "running"
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @return KamalLook
function M.look(project, host)
  local config = project.config
  local look = { roles = {} }
  look.routes, look.proxy = M.routes(host)
  local listed = host.docker:list { all = true, labels = { "service=" .. config.service } }
  for _, role in ipairs(project:roles_on(host)) do
    local own = { containers = {} }
    for _, one in ipairs(listed) do
      local version = naming.version_of(config, role, one.name)
      if one.labels.role == role.name and (one.labels.destination or "") == (config.destination or "") and version then
        local running = one.state == "running" or one.state == "restarting"
        own.containers[#own.containers + 1] = { id = one.id, name = one.name, version = version, running = running,
          created = one.created, image_id = one.image_id }
      end
    end
    table.sort(own.containers, function(a, b)
      if a.created ~= b.created then return a.created > b.created end
      return a.name > b.name
    end)
    local route = role.proxy and look.routes[naming.prefix(config, role)]
    for _, one in ipairs(own.containers) do
      local serves = route and one.id:sub(1, 12) == route.container
      if one.running and (serves or not own.current) then own.current = one end
      if serves then break end
    end
    look.roles[role.name] = own
  end
  local latest = try(host.docker.inspect_image, host.docker, naming.latest_image(config))
  look.latest = latest and latest.id or nil
  return look
end

--- The running container of a role; raises where none runs.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @return KamalContainer?
function M.of_role(project, host, role)
  local own = M.look(project, host).roles[role.name]
  return own and own.current
end

return M
