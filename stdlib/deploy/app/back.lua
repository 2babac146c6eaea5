--- The way back to an earlier release: which there are, also where somebody has removed containers and images since,
--- and how what is gone is brought back. Starting and switching are release.lua's, as in a deploy.

local json = require "native.json"
local pick = require "deploy.app.pick"
local remove_image = require "deploy.remove_image"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local try = require "deploy.try"

local M = {}
local Back = {}

--- @class Gone  what of a release is missing on a server
--- @field missing string[]  roles whose container is gone
--- @field image string?     ID of what the version's tag means there now
--- @field ref string?       what it was, by digest, where the server remembers that
--- @field fits boolean      what is there is what was released

--- What is on a server now, and what it remembers of releases. Changes nothing.
--- @async
--- @param host Host
--- @return Look
function Back:look_back(host)
  local found = side_by_side({
    function() return self:look(host) end, function() return self:records(host) end,
  }, "look", function(fn) return fn() end)
  local look = found[1]
  look.records = found[2]
  return look
end

--- Every place that needs a release to go back to.
function Back:_places()
  local places = {}
  for _, host in ipairs(self.hosts) do
    for _, role in ipairs(self:roles(host)) do places[#places + 1] = { host = host.name, role = role } end
  end
  return places
end

--- The version to roll back to: the newest before the one that serves, or what is wanted: a version, the beginning of
--- one that only one has, or the digest of its image. Raises `app.no_release` before anything is changed.
--- @param seen table<string, Look>  what `look_back` found, by host name
--- @param wanted? string
--- @return string
function Back:rollback_target(seen, wanted)
  return pick.rollback_target(seen, self:_places(), wanted)
end

--- What of a release is missing on a server; asks nothing where all of it is kept.
--- @async
--- @param host Host
--- @param before Look
--- @param version string
--- @return Gone
function Back:gone(host, before, version)
  local gone = { missing = json.array {}, fits = true, unchanged = true }
  for _, role in ipairs(self:roles(host)) do
    if not pick.kept(before, role.name, version) then gone.missing[#gone.missing + 1] = role.name end
  end
  if #gone.missing == 0 then return gone end
  local record = pick.record(before, version)
  local image = try(host.docker.inspect_image, host.docker, self:image(version))
  gone.ref, gone.image = record and record.images[gone.missing[1]], image and image.id
  gone.fits = image ~= nil and gone.ref == nil
  for _, digest in ipairs(image and image.digests or {}) do gone.fits = gone.fits or digest == gone.ref end
  gone.note, gone.unchanged = table.concat(gone.missing, ", ") .. (gone.fits and "" or ", and its image"), nil
  return gone
end

--- Fetches the image of a release that is gone, by its digest; by its tag where that is not remembered.
--- @async
--- @param host Host
--- @param version string
--- @param gone Gone
--- @return { unchanged: boolean?, note: string? }
function Back:fetch(host, version, gone)
  if #gone.missing == 0 or gone.fits then return { unchanged = true } end
  if not gone.ref then return self:pull(host, version, { nameless = {} }) end
  local progress = report.progress(host, "pull.progress")
  host.docker:pull(gone.ref, { credentials = self._credentials, on_progress = progress })
  host.docker:tag_image(gone.ref, self:image(version))
  return { note = gone.ref }
end

--- Takes that back. What something uses stays: containers of a role that was not gone may have the image.
--- @async
--- @param host Host
--- @param version string
--- @param _before Look
--- @param gone Gone
function Back:unfetch(host, version, _before, gone)
  if #gone.missing == 0 or gone.fits then return end
  local docker = host.docker
  if gone.image then
    docker:tag_image(gone.image, self:image(version))
  else
    remove_image(docker, self:image(version))
  end
  if gone.ref then remove_image(docker, gone.ref) end
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Back) do app[name] = fn end
end

return M
