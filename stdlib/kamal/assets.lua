--- Assets bridged between versions: what the image has under `asset_path` is taken out on the server, and each version
--- is served with the other's files as well, so that a page of the one finds its assets at the other.

local containers = require "kamal.containers"
local naming = require "kamal.naming"
local try = require "deploy.try"

local M = {}

--- The roles on a host that have assets, each with where they lie in the image.
local function with_assets(project, host)
  local out = {}
  for _, role in ipairs(project:roles_on(host)) do
    local path = containers.assets(project.config, role)
    if path then out[#out + 1] = { role = role, path = path } end
  end
  return out
end

--- The hosts that have any.
--- @param project KamalProject
--- @return Host[]
function M.hosts(project)
  local out = {}
  for _, host in ipairs(project.app_hosts) do
    if #with_assets(project, host) > 0 then out[#out + 1] = host end
  end
  return out
end

--- Takes them out of the image, by a container that never runs.
local function extract(project, host, role, path, version)
  local folder = naming.assets(project.config, "extracted", role, version)
  local name = naming.prefix(project.config, role) .. "-assets"
  host:exec { "mkdir", "-p", folder }
  try(host.docker.remove, host.docker, name, { force = true, volumes = true })
  host.docker:create { name = name, image = naming.image(project.config, version) }
  local ok, err = pcall(host.exec, host, { "docker", "container", "cp", "-L", name .. ":" .. path .. "/.", folder })
  host.docker:remove(name, { force = true, volumes = true })
  if not ok then error(err, 0) end
  return folder
end

local function copy(host, from, to) host:exec { "cp", "-rnT", from, to } end

--- Makes a version's assets ready on a host, beside those of what serves now. Files that are there are never replaced.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param version string
--- @param look KamalLook
--- @return { made: string[] }  folders that were not there before
function M.bridge(project, host, version, look)
  local made = {}
  for _, one in ipairs(with_assets(project, host)) do
    local role, current = one.role, look.roles[one.role.name].current
    local volume = naming.assets(project.config, "volumes", role, version)
    for _, kind in ipairs { "extracted", "volumes" } do
      local folder = naming.assets(project.config, kind, role, version)
      if not host:stat(folder) then made[#made + 1] = folder end
    end
    local extracted = extract(project, host, role, one.path, version)
    host:exec { "mkdir", "-p", volume }
    copy(host, extracted, volume)
    if current and current.version ~= version then
      local old = naming.assets(project.config, "volumes", role, current.version)
      local old_extracted = naming.assets(project.config, "extracted", role, current.version)
      if host:stat(old) then copy(host, extracted, old) end
      if host:stat(old_extracted) then copy(host, old_extracted, volume) end
    end
  end
  return { made = made }
end

--- Takes a version's folders away again.
--- @async
--- @param host Host
--- @param result { made: string[] }?
function M.unbridge(host, result)
  for _, folder in ipairs(result and result.made or {}) do host:remove(folder, { recursive = true }) end
end

--- Removes the folders of other versions. `web-*` also fits those of a role that is called web-admin: what any role
--- of the host has now stays.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param version string
function M.clean(project, host, version)
  local roles = with_assets(project, host)
  for _, kind in ipairs { "extracted", "volumes" } do
    local kept, above = {}, nil
    for _, one in ipairs(roles) do
      local own
      above, own = naming.assets(project.config, kind, one.role, version):match("^(.*)/([^/]+)$")
      kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = "!", "-name", own
    end
    for _, one in ipairs(roles) do
      local argv = { "find", above, "-maxdepth", "1", "-name", one.role.name .. "-*" }
      for _, word in ipairs(kept) do argv[#argv + 1] = word end
      for _, word in ipairs { "-exec", "rm", "-rf", "{}", "+" } do argv[#argv + 1] = word end
      host:exec(argv)
    end
  end
end

return M
