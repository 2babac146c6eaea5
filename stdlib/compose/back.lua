--- The way back to an earlier release of a Compose project, also where containers and images of it are gone: its file
--- is still on the server, with the digest of each image, so that the server's Compose can make it whole again.

local container = require "deploy.app.container"
local json = require "native.json"
local pick = require "deploy.app.pick"
local tool_module = require "compose.tool"

local M = {}
local Back = {}

--- @class ComposeGone
--- @field missing string[]  services whose container is gone
--- @field release? { sent: table, pinned: table, remembered: boolean }  what the server's file says of the release

-- $0: the folder of projects, $1: the service. Newest first: "<seconds> <project> <file>".
local LIST = [[
cd "$HOME/$0" 2>/dev/null || exit 0
ls -t | while read -r d; do
  case "$d" in "$1"-*) ;; *) continue ;; esac
  [ -f "$d/compose.json" ] || continue
  printf '%s %s ' "$(stat -c %Y "$d/compose.json")" "$d" && tr -d '\n' <"$d/compose.json" && echo
done]]

local function text_in(labels, name) return type(labels[name]) == "string" and labels[name] or nil end

local function record_of(self, at, project, file)
  local ok, made = pcall(json.decode, file)
  if not ok or type(made) ~= "table" or type(made.services) ~= "table" then return nil end
  local record = { at = tonumber(at), project = project, images = {} }
  for name, service in pairs(made.services) do
    local labels = type(service) == "table" and type(service.labels) == "table" and service.labels or {}
    if labels.service ~= self.config.service or type(service.image) ~= "string" then return nil end
    record.version, record.digest = text_in(labels, container.LABEL_VERSION), text_in(labels, container.LABEL_CONFIG)
    record.images[name] = service.image
  end
  return record.version and record.digest and record
end

--- What was released on a server, as the files there say.
--- @async
--- @param host Host
--- @return ReleaseRecord[]  newest first
function Back:records(host)
  local out = json.array {}
  local argv = { "sh", "-c", LIST, tool_module.FOLDER, self.config.service }
  for line in host:exec(argv, { reads = true }).stdout:gmatch("[^\n]+") do
    local at, project, file = line:match("^(%d+) (%S+) (.*)$")
    out[#out + 1] = at and record_of(self, at, project, file) or nil
  end
  return out
end

--- The files say it.
function Back:_remember() end

--- What gets traffic has to be there, on every server.
function Back:_places()
  local places = {}
  for _, host in ipairs(self.hosts) do
    for _, role in ipairs(self:proxied(host)) do places[#places + 1] = { host = host.name, role = role } end
  end
  return places
end

--- The file that a release came from: its kept containers tell which of several of a version.
local function record_for(before, version)
  for _, facts in pairs(before.containers) do
    for _, record in ipairs(before.records or {}) do
      if facts.version == version and facts.project == record.project then return record end
    end
  end
  return pick.record(before, version)
end

--- Services of a release that the server remembers and that do not run once.
function Back:_remembered(release, fits)
  local out = {}
  for _, role in ipairs(self.config.roles) do
    if release.pinned.pins[role.name] and not role.one_shot and fits(role) then out[#out + 1] = role end
  end
  return out
end

local function release_from(record, tool)
  return { remembered = true, pinned = { pins = record.images, images = record.images },
    sent = { project = record.project, digest = record.digest, tool = tool } }
end

--- What a release is made of, as the server's file says; nil where there is none.
--- @async
--- @param host Host
--- @param before ComposeLook  what `look_back` found
--- @param version string
--- @return table?
function Back:release_of(host, before, version)
  local record = record_for(before, version)
  return record and release_from(record, tool_module.look(host))
end

--- What of a release is missing on a server; asks nothing where all of it is kept.
--- @async
--- @param host Host
--- @param before ComposeLook
--- @param version string
--- @return ComposeGone
function Back:gone(host, before, version)
  local gone, record = { missing = json.array {}, unchanged = true }, record_for(before, version)
  for _, role in ipairs(self.config.roles) do
    local was = record and record.images[role.name] and not role.one_shot
    if was and not pick.kept(before, role.name, version) then gone.missing[#gone.missing + 1] = role.name end
  end
  if #gone.missing == 0 then return gone end
  gone.release = release_from(record, tool_module.look(host))
  gone.note, gone.unchanged = table.concat(gone.missing, ", "), nil
  return gone
end

--- Fetches the images of a release that is gone, by their digests.
--- @async
--- @param host Host
--- @param _version string
--- @param gone ComposeGone
--- @return { unchanged: boolean, note: string? }
function Back:fetch(host, _version, gone)
  if not gone.release then return { unchanged = true } end
  return self:pull(host, gone.release.pinned)
end

--- Takes that back.
--- @async
--- @param host Host
--- @param _version string
--- @param before ComposeLook
--- @param gone ComposeGone
--- @param fetched table?
function Back:unfetch(host, _version, before, gone, fetched)
  if gone.release then self:unpull(host, before, fetched) end
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Back) do app[name] = fn end
end

return M
