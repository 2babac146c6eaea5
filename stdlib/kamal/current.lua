--- What a server runs of an app: its containers by role, and which of them is current. That is read from the proxy and
--- from the containers, never from a tag: a tool that was interrupted between the two leaves the tag behind.

local fail = require "native.fail"
local kamal_proxy = require "proxy.kamal_proxy"
local naming = require "kamal.naming"
local side_by_side = require "deploy.side_by_side"
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
--- @field never_ran boolean  made and never started: its version never served

--- @class KamalLook
--- @field roles table<string, { containers: KamalContainer[], current?: KamalContainer }>  newest first
--- @field routes table<string, { container: string, state: string }>
--- @field proxy "running"|"stopped"|"missing"
--- @field latest? string  the image ID of the latest tag
--- @field attached boolean  the proxy's container is in Kamal's network

--- The proxy's services; what it wrote down, or what it says.
--- @async
--- @param host Host
--- @return table<string, table> routes
--- @return "running"|"stopped"|"missing" state
--- @return boolean attached  its container is in Kamal's network
function M.routes(host)
  local docker = host.docker
  local found = side_by_side({
    function() return try(docker.inspect, docker, naming.PROXY_CONTAINER) or false end,
    function() return try(docker.read, docker, naming.PROXY_CONTAINER, STATE_FILE) or false end,
  }, "look at the proxy", function(fn) return fn() end)
  local proxy, bytes = found[1], found[2]
  if not proxy then return {}, "missing", false end
  local attached = (proxy.networks or {})[naming.NETWORK] ~= nil
  if not proxy.running then return {}, "stopped", attached end
  local routes = bytes and kamal_proxy.parse_state(bytes)
  if routes then return routes, "running", attached end
  local listed = docker:exec(naming.PROXY_CONTAINER, { "kamal-proxy", "list" }, { reads = true })
  return listed.code == 0 and kamal_proxy.parse_list(listed.stdout) or {}, "running", attached
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @return KamalLook
function M.look(project, host)
  local config = project.config
  local look, docker, listed = { roles = {} }, host.docker, nil
  -- Over three connections: for more at once others would have to be opened, one after the other.
  side_by_side({
    function()
      listed = docker:list { all = true, labels = { "service=" .. config.service } }
      local latest = try(docker.inspect_image, docker, naming.latest_image(config))
      look.latest = latest and latest.id or nil
    end,
    function() look.routes, look.proxy, look.attached = M.routes(host) end,
  }, "look", function(fn) fn() end)
  for _, role in ipairs(project:roles_on(host)) do
    local own = { containers = {} }
    for _, one in ipairs(listed) do
      local version = naming.version_of(config, role, one.name)
      if one.labels.role == role.name and (one.labels.destination or "") == (config.destination or "") and version then
        local running = one.state == "running" or one.state == "restarting"
        own.containers[#own.containers + 1] = { id = one.id, name = one.name, version = version, running = running,
          created = one.created, image_id = one.image_id, never_ran = one.state == "created" }
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
      if one.running and serves then break end
    end
    look.roles[role.name] = own
  end
  return look
end

--- The running container of a role; nil where none runs.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @return KamalContainer?
function M.of_role(project, host, role)
  local own = M.look(project, host).roles[role.name]
  return own and own.current
end

--- The same; raises `app.exited` where none runs.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @return KamalContainer
function M.serving(project, host, role)
  local found = M.of_role(project, host, role)
  if found then return found end
  fail.raise("app.exited", ("no container of %s runs"):format(naming.prefix(project.config, role)),
    { host = host.name, hint = "`app containers` shows what there is, `app boot` boots the latest version" })
end

return M
