--- What the reads of a plan saw, as the facts of a spec (facts.lua): a spec then rehearses the recipe against the hosts
--- as they were. Secrets are masked; of a container's environment only masked values are kept.

local json = require "native.json"
local secret = require "native.secret"
local text = require "native.text"

local M = {}
local Recording = {}
Recording.__index = Recording

local CONTAINER = { "id", "name", "image", "image_id", "created", "state", "health", "exit_code", "restart_count",
  "labels", "networks", "cmd" }
local IMAGE = { "id", "tags", "digests", "labels" }
local NETWORK = { "id", "driver", "internal", "labels" }
local VOLUME = { "driver", "labels" }

--- @return table recording
function M.new() return setmetatable({ hosts = {} }, Recording) end

local function masked(value)
  if type(value) == "string" then return secret.masked(value) end
  if type(value) ~= "table" then return value end
  local out = {}
  for key, one in pairs(value) do out[key] = masked(one) end
  return out
end

local function place(self, host, field)
  self.hosts[host] = self.hosts[host] or {}
  local facts = self.hosts[host]
  facts[field] = facts[field] or {}
  return facts[field]
end

--- Keeps some fields of what a read gave.
local function keep(into, name, fields, from)
  into[name] = into[name] or {}
  for _, field in ipairs(fields) do
    if from[field] ~= nil then into[name][field] = masked(from[field]) end
  end
  return into[name]
end

local notes = {}

--- The engine's order is kept too: it tells those of one second apart. A later list may know some of them already, and
--- others between them.
function notes.list(self, host, found)
  local last = 0
  for _, one in ipairs(found) do
    local kept = keep(place(self, host, "containers"), one.name, CONTAINER, one)
    last = math.max(last + 1, kept.listed or 0)
    kept.listed = last
  end
end

function notes.inspect(self, host, one)
  local seconds = (place(self, host, "containers")[one.name] or {}).created
  local kept = keep(place(self, host, "containers"), one.name, CONTAINER, one)
  kept.created = seconds  -- as lists have it: a number
  for name, value in pairs(one.env or {}) do
    local shown = secret.masked(value)
    if shown ~= value then
      kept.env = kept.env or {}
      kept.env[name] = shown
    end
  end
end

function notes.inspect_image(self, host, one, name)
  keep(place(self, host, "images"), one.id == name and one.tags[1] or name, IMAGE, one)
end

function notes.inspect_network(self, host, one) keep(place(self, host, "networks"), one.name, NETWORK, one) end

function notes.inspect_volume(self, host, one) keep(place(self, host, "volumes"), one.name, VOLUME, one) end

local function note_exec(self, host, result, command)
  local line = type(command) == "table" and text.shell_join(command) or command
  place(self, host, "exec")[secret.masked(line)] = { stdout = masked(result.stdout), stderr = masked(result.stderr),
    code = result.code }
end

notes["docker.exec"] = function(self, host, result, _, argv) note_exec(self, host, result, argv) end
notes["ssh.exec"] = function(self, host, result, command) note_exec(self, host, result, command) end
notes["ssh.read"] = function(self, host, bytes, path) place(self, host, "files")[path] = masked(bytes) end

--- Notes a read.
--- @param host string
--- @param face string
--- @param name string
--- @param result any
--- @param ... any  the read's arguments
function Recording:note(host, face, name, result, ...)
  local fn = notes[face .. "." .. name] or face == "docker" and notes[name]
  if fn and result ~= nil then fn(self, host, result, ...) end
end

--- The facts, for a file.
--- @return string
function Recording:text() return json.encode({ hosts = self.hosts }, { pretty = true }) .. "\n" end

return M
