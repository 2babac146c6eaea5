--- Pruning by Kamal's rules: of an app's stopped containers the newest stay, of its images those that something uses.

local audit = require "kamal.audit"
local fail = require "native.fail"
local naming = require "kamal.naming"
local try = require "deploy.try"

local M = {}

local STOPPED = { "created", "exited", "dead" }

--- @async
--- @param project KamalProject
--- @param host Host
--- @param retain integer
--- @return string[] removed
function M.containers(project, host, retain)
  local docker, removed = host.docker, {}
  local found = docker:list { all = true, labels = { "service=" .. project.config.service }, states = STOPPED }
  table.sort(found, function(a, b)
    if a.created ~= b.created then return a.created > b.created end
    return a.name > b.name
  end)
  audit.record(project, host, "Pruned containers")
  for index = retain + 1, #found do
    try(docker.remove, docker, found[index].id, { volumes = true })
    removed[#removed + 1] = found[index].name
  end
  return removed
end

--- @async
--- @param project KamalProject
--- @param host Host
--- @return string[] removed
function M.images(project, host)
  local docker, removed, used = host.docker, {}, {}
  for _, one in ipairs(docker:list { all = true }) do used[one.image] = true end
  used[naming.latest_image(project.config)] = true
  audit.record(project, host, "Pruned images")
  for _, image in ipairs(docker:list_images { labels = { "service=" .. project.config.service } }) do
    local refs = #image.tags > 0 and image.tags or { image.id }
    for _, ref in ipairs(refs) do
      if not used[ref] then
        local ok, err = pcall(docker.remove_image, docker, ref)
        local kind = not ok and fail.normal(err).kind
        if kind and kind ~= "docker.conflict" and kind ~= "docker.not_found" then error(err, 0) end
        if ok then removed[#removed + 1] = ref end
      end
    end
  end
  return removed
end

return M
