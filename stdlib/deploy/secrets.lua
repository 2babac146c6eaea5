--- Secrets by name: from files of NAME=VALUE lines, else from the environment. All that are asked for are found before
--- anything is done, or named together as missing.

local fail = require "native.fail"
local files = require "native.files"
local secret = require "native.secret"

local M = {}

M.value = secret.value
M.from_file = secret.from_file

--- @class Secrets
--- @field try_get fun(self: Secrets, name: string): Secret?
--- @field get fun(self: Secrets, name: string): Secret
local Secrets = {}
Secrets.__index = Secrets

local given  -- by a spec, instead of the environment

--- Secrets that count before all others; nil: none.
--- @param new table<string, Secret>?
function M.set_given(new) given = new end

--- A secret from the environment. Raises `secret.missing`.
--- @param name string
--- @param options? { optional?: boolean }  optional: nil where it is not set
--- @return Secret?
function M.from_env(name, options) return given and given[name] or secret.from_env(name, options) end

--- Files in reverse: the last one that has the name counts; then the environment.
--- @param name string
--- @return Secret?
function Secrets:try_get(name)
  if given and given[name] then return given[name] end
  for index = #self._files, 1, -1 do
    local found = self._files[index]:try_get(name)
    if found then return found end
  end
  return secret.from_env(name, { optional = true })
end

--- Raises `secret.missing` naming where it was looked for.
--- @param name string
--- @return Secret
function Secrets:get(name)
  local found = self:try_get(name)
  if found then return found end
  local message = ("secret %s: neither in %s nor in the environment"):format(name, table.concat(self._paths, ", "))
  local hint = ("put %s=… into %s, or set the variable"):format(name, self._paths[1] or "a file")
  fail.raise("secret.missing", message, { name = name, token = name, hint = hint })
end

--- Opens files of secrets; one that is not there counts as empty, for the environment may have them all.
--- @async
--- @param paths string[]
--- @return Secrets
function M.open(paths)
  local opened = {}
  for _, path in ipairs(paths) do
    if files.exists(path) then opened[#opened + 1] = secret.from_file(path) end
  end
  return setmetatable({ _paths = paths, _files = opened }, Secrets)
end

return M
