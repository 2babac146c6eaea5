--- What is remembered of an app's releases, so that one can come back whose containers and image somebody has removed
--- (`docker system prune --all`). Where it is kept is journal/releases.lua's.

local container = require "deploy.app.container"
local json = require "native.json"
local releases = require "deploy.journal.releases"
local try = require "deploy.try"

local M = {}
local Records = {}

local DIGEST_LENGTH = 71  -- of "sha256:" and 64 digits

--- Those of a release's images that are this app's, by digest: whoever keeps what is remembered may write what it
--- likes, and what it says is fetched and started on every server.
local function own_images(images, repository)
  local out = {}
  for role, ref in pairs(images) do
    local is_ours = type(ref) == "string" and ref:sub(1, #repository + 1) == repository .. "@"
    local digest = is_ours and ref:sub(#repository + 2)
    if digest and digest:match("^sha256:%x+$") and #digest == DIGEST_LENGTH then out[role] = ref end
  end
  return out
end

--- What was released on a server: as many as are kept, and the one that serves.
--- @async
--- @param host Host
--- @return ReleaseRecord[]  newest first
function Records:records(host)
  local known = releases.known(host, self.config.service, self.config.retain + 1)
  for _, record in ipairs(known) do record.images = own_images(record.images, self.config.image) end
  return known
end

--- The name of an image that never means another one; nil where it came from no registry.
local function pinned(image, repository)
  for _, digest in ipairs(image and image.digests or {}) do
    if digest:sub(1, #repository + 1) == repository .. "@" then return digest end
  end
end

--- What a version's image is here, by digest; nil where it came from no registry.
--- @async
--- @param host Host
--- @param version string
--- @return string?
function Records:released_ref(host, version)
  return pinned(try(host.docker.inspect_image, host.docker, self:image(version)), self.config.image)
end

--- Notes a release: of its environment and secrets the names alone.
--- @param host Host
--- @param version string
--- @param ref string?  its image by digest; nothing is noted without one
function Records:remember(host, version, ref)
  if not ref then return end
  local facts = { images = {}, config = {}, env = {} }
  for _, role in ipairs(self:roles(host)) do
    local names = json.array {}
    for name in pairs(role.env) do names[#names + 1] = name end
    for name in pairs(role.secret_values) do names[#names + 1] = name end
    table.sort(names)
    facts.images[role.name], facts.env[role.name] = ref, names
    facts.config[role.name] = container.config_digest(self.config, role)
  end
  releases.note(host, self.config.service, version, facts)
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Records) do app[name] = fn end
end

return M
