--- What a rollback can go back to, as a table for people: how old each release is, how large, and in what it differs
--- from the one that serves. Values of the environment are compared, never told.

local pick = require "deploy.app.pick"
local side_by_side = require "deploy.side_by_side"
local text = require "native.text"
local try = require "deploy.try"

local M = {}
local Candidates = {}

local SHORT_DIGEST = 19  -- of "sha256:" and twelve digits
local SETTINGS_TOLD = 5

--- @class Candidate : KnownRelease
--- @field serves boolean
--- @field found DockerContainer?
--- @field image DockerImage?

local function look_closer(docker, one)
  one.found = one.facts and try(docker.inspect, docker, one.facts.id)
  one.image = one.facts and try(docker.inspect_image, docker, one.facts.image)
  if not one.facts and one.ref then one.image = try(docker.inspect_image, docker, one.ref) end
  return one
end

--- Of an environment what is not the image's own.
local function settings_of(one)
  local out, own = {}, one.image and one.image.env or {}
  for name, value in pairs(one.found.env or {}) do
    if own[name] ~= value then out[name] = value end
  end
  return out
end

--- Names of settings that differ between two releases, sorted.
local function changed_settings(a, b)
  local ours, theirs, names = settings_of(a), settings_of(b), {}
  for name, value in pairs(ours) do
    if theirs[name] ~= value then names[#names + 1] = name end
  end
  for name in pairs(theirs) do
    if ours[name] == nil then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function mounts_of(found)
  local out = {}
  for index, one in ipairs(found.mounts or {}) do
    local source = one.name ~= "" and one.name or one.source
    out[index] = ("%s:%s%s"):format(source, one.target, one.read_only and ":ro" or "")
  end
  table.sort(out)
  return table.concat(out, " ")
end

local function settings_words(names)
  if #names > SETTINGS_TOLD then return ("%d settings"):format(#names) end
  return "settings: " .. table.concat(names, " ")
end

--- In what a release differs from the one that serves.
--- @param one Candidate
--- @param serving Candidate
--- @return string
function M.differences(one, serving)
  if not (one.found and serving.found) then return "" end
  local out = { one.facts.image == serving.facts.image and "the same image" or "image" }
  local settings = changed_settings(one, serving)
  if #settings > 0 then out[#out + 1] = settings_words(settings) end
  if table.concat(one.found.cmd or {}, "\0") ~= table.concat(serving.found.cmd or {}, "\0") then
    out[#out + 1] = "command"
  end
  if mounts_of(one.found) ~= mounts_of(serving.found) then out[#out + 1] = "volumes" end
  return table.concat(out, ", ")
end

local function state_of(one)
  if one.serves then return "serves" end
  return one.facts and (one.facts.state == "running" and "runs" or "kept") or "gone"
end

local function words_of(one, serving)
  if not one.facts then
    local digest = (one.ref or ""):match("@(.*)$") or ""
    return (one.image and "its image is there: " or "comes from the registry: ") .. digest:sub(1, SHORT_DIGEST)
  end
  return one.serves and "" or serving and M.differences(one, serving) or ""
end

--- @param role string
--- @param list Candidate[]
--- @param now integer  seconds since 1970
--- @return string  a line for each
function M.text(role, list, now)
  local serving, lines, width = nil, {}, 7
  for _, one in ipairs(list) do
    if one.serves then serving = one end
    width = math.max(width, #one.version)
  end
  for _, one in ipairs(list) do
    local age = text.format_duration(math.max(0, now - one.created) * 1000)
    local size = one.image and ("%.1f MB"):format(one.image.bytes / 1e6) or "-"
    local line = ("%-10s %s%s  %-6s  %11s  %10s  %s"):format(role, one.version, (" "):rep(width - #one.version),
      state_of(one), age, size, words_of(one, serving))
    lines[#lines + 1] = line:gsub("%s+$", "") .. "\n"
  end
  return table.concat(lines)
end

--- Every release of a server that a rollback can go back to, beside the one that serves. Changes nothing.
--- @async
--- @param host Host
--- @return string
function Candidates:candidates(host)
  local look, out, now = self:look_back(host), {}, os.time()
  for _, role in ipairs(self:roles(host)) do
    local current, known = pick.current(look, role), pick.known(look, role.name)
    side_by_side(known, "look", function(one) return look_closer(host.docker, one) end)
    for _, one in ipairs(known) do
      one.serves = current ~= nil and one.facts ~= nil and one.facts.id == current.id
    end
    out[#out + 1] = M.text(role.name, known, now)
  end
  return table.concat(out)
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Candidates) do app[name] = fn end
end

return M
