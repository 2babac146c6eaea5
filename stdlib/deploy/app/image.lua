--- A version's image on one server: fetched from a registry or shipped from here, and taken back. Each call is
--- repeatable and is told what a look found before the run began.

local hosts = require "deploy.host"
local remove_image = require "deploy.remove_image"
local report = require "native.report"
local task = require "native.task"
local try = require "deploy.try"

local M = {}
local Image = {}

local LATE_LOOKS, LATE_PAUSE = 10, 300  -- ms; for what an engine still does for a process that is gone

--- Whether a version's image has to be fetched.
--- @param before Look
--- @return boolean
function Image:needs_pull(before) return before.image == nil or self.config.pull == "always" end

--- Fetches a version's image where it is not there: a version is what its tag meant first (`pull: always` asks again).
--- With `pull: ship` this machine's engine has it, and the layers that the server lacks travel over the connection:
--- no registry.
--- @async
--- @param host Host
--- @param version string
--- @param before Look
--- @return { unchanged: boolean, note: string? }
function Image:pull(host, version, before)
  if not self:needs_pull(before) then return { unchanged = true, note = "it is there" } end
  if self.config.pull == "ship" then return self:_ship(host, version) end
  local pulled = host.docker:pull(self:image(version), {
    credentials = self._credentials, on_progress = report.progress(host, "pull.progress"),
  })
  return { unchanged = pulled.changed == false }
end

function Image:_ship(host, version)
  local shipped = host.docker:ship(self:image(version), {
    from = hosts.localhost.docker, on_progress = report.progress(host, "pull.progress"),
  })
  if not shipped.changed then return { unchanged = true, note = "it is there" } end
  return { unchanged = false, note = ("%d of %d layers, %.1f MiB"):format(shipped.sent, shipped.layers,
    shipped.bytes / 1048576) }
end

local function is_nameless(entry) return #entry.tags == 0 and #entry.digests == 0 end

--- IDs of the images on a server that have no name.
--- @async
--- @param host Host
--- @return string[]
function Image:nameless_images(host)
  local ids = {}
  for index, image in ipairs(host.docker:list_images { nameless = true }) do ids[index] = image.id end
  return ids
end

--- Whether engines list an image under this very name: Docker Hub's names are shortened, or made long.
local function is_listed_as_written(ref)
  local registry = ref:match "^([^/]+)/"
  return registry ~= nil and registry ~= "docker.io" and registry ~= "index.docker.io"
    and (registry == "localhost" or registry:find "[.:]" ~= nil)
end

--- A version's image on a server before anything is changed, and the images there that have no name, which matter
--- where one will be pulled. One answer tells both where the engine's list names images as we do.
--- @async
--- @param host Host
--- @param version string
--- @return string? id
--- @return string[] nameless
function Image:look_at_images(host, version)
  local ref, id, nameless = self:image(version), nil, {}
  if not is_listed_as_written(ref) then
    local found = try(host.docker.inspect_image, host.docker, ref)
    id = found and found.id
    return id, self:needs_pull { image = id } and self:nameless_images(host) or nameless
  end
  for _, entry in ipairs(host.docker:list_images()) do
    if is_nameless(entry) then nameless[#nameless + 1] = entry.id end
    for _, tag in ipairs(entry.tags) do
      if tag == ref then id = entry.id end
    end
  end
  return id, self:needs_pull { image = id } and nameless or {}
end

--- Whether there is an image without a name that was not there before.
function Image:_has_new_nameless(host, before)
  local known = {}
  for _, id in ipairs(before.nameless) do known[id] = true end
  for _, id in ipairs(self:nameless_images(host)) do
    if not known[id] then return true end
  end
  return false
end

--- The engine goes on for a moment with a pull that nobody waits for any more, and keeps its image nameless (20.10
--- does where the layers are there); one that goes down while an image is taken back may have forgotten its name and
--- kept the rest. Pulled again it gets the name by which it can be told from somebody else's.
function Image:_name_again(host, version, before, looks)
  if self.config.pull == "ship" then return end
  local docker = host.docker
  for look = 1, looks do
    local now = try(docker.inspect_image, docker, self:image(version))
    if now and now.id ~= before.image then return end
    if self:_has_new_nameless(host, before) then
      pcall(docker.pull, docker, self:image(version), { credentials = self._credentials })
      return
    end
    if look < looks then task.sleep(LATE_PAUSE) end
  end
end

--- Takes back a pull: the tag means what it meant before, and an image that came with it goes, unless
--- something uses it by now.
--- @async
--- @param host Host
--- @param version string
--- @param before Look
--- @param pulled table?  what the pull returned; nil: it did not come to its end
function Image:unpull(host, version, before, pulled)
  local docker, ref = host.docker, self:image(version)
  if self:needs_pull(before) and not (pulled and pulled.unchanged) then
    self:_name_again(host, version, before, pulled and 1 or LATE_LOOKS)
  end
  local now = try(docker.inspect_image, docker, ref)
  if not now or now.id == before.image then return end
  if before.image then docker:tag_image(before.image, ref) else remove_image(docker, ref) end
  for _, id in ipairs(before.nameless or {}) do
    if id == now.id then return end
  end
  local left = try(docker.inspect_image, docker, now.id)
  if left and #left.tags == 0 then remove_image(docker, now.id) end
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Image) do app[name] = fn end
end

return M
