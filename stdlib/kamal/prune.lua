--- Pruning by Kamal's rules: of an app's stopped containers the newest stay, of its images those that something uses.

local audit = require "kamal.audit"
local naming = require "kamal.naming"
local remove_unused = require "deploy.remove_unused"
local side_by_side = require "deploy.side_by_side"

local M = {}

local STOPPED = { created = true, exited = true, dead = true }

local function names_of(containers)
  local out = {}
  for index, one in ipairs(containers) do out[index] = one.name end
  return out
end

--- The app's stopped containers beyond the newest.
local function surplus(project, listed, retain)
  local stopped, out = {}, {}
  for _, one in ipairs(listed) do
    if STOPPED[one.state] and (one.labels or {}).service == project.config.service then stopped[#stopped + 1] = one end
  end
  table.sort(stopped, function(a, b)
    if a.created ~= b.created then return a.created > b.created end
    return a.name > b.name
  end)
  for index = retain + 1, #stopped do out[#out + 1] = stopped[index] end
  return out
end

--- The app's images, by name, that no container uses but those that go.
local function unused(project, images, listed, going)
  local used, goes, out = { [naming.latest_image(project.config)] = true }, {}, {}
  for _, one in ipairs(going) do goes[one.id] = true end
  for _, one in ipairs(listed) do
    if not goes[one.id] then used[one.image] = true end
  end
  for _, image in ipairs(images) do
    for _, ref in ipairs(#image.tags > 0 and image.tags or { image.id }) do
      if not used[ref] then out[#out + 1] = ref end
    end
  end
  return out
end

local function list_images(project, docker)
  return docker:list_images { labels = { "service=" .. project.config.service } }
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @param retain integer
--- @return string[] removed
function M.containers(project, host, retain)
  local going = surplus(project, host.docker:list { all = true, labels = { "service=" .. project.config.service } },
    retain)
  audit.record(project, host, "Pruned containers")
  remove_unused(host.docker, going, {})
  return names_of(going)
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @return string[] removed
function M.images(project, host)
  local docker = host.docker
  local listed = docker:list { all = true }
  audit.record(project, host, "Pruned images")
  return remove_unused(docker, {}, unused(project, list_images(project, docker), listed, {}))
end

--- @class KamalLeftovers
--- @field listed table[]  all containers of the server
--- @field images table[]  the app's

--- What there is, for `all`.
--- @async
--- @param project KamalProject
--- @param host Host
--- @return KamalLeftovers
function M.look(project, host)
  local docker = host.docker
  local found = side_by_side({
    function() return docker:list { all = true } end, function() return list_images(project, docker) end,
  }, "look", function(fn) return fn() end)
  return { listed = found[1], images = found[2] }
end

--- Both.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param retain integer
--- @param there? KamalLeftovers  where somebody has looked a moment ago
--- @return string[] containers  that were removed
--- @return string[] images
function M.all(project, host, retain, there)
  there = there or M.look(project, host)
  local going = surplus(project, there.listed, retain)
  audit.record(project, host, { "Pruned containers", "Pruned images" })
  return names_of(going), remove_unused(host.docker, going, unused(project, there.images, there.listed, going))
end

return M
