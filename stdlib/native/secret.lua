--- Secrets: values that pass through and never show. A secret joins with text into a secret, prints as
--- `[secret:NAME]`, and is masked in all output, in the forms in which programs print it. Recipes cannot read it; what
--- needs it takes it as it is: `env`, `stdin`, `files.write`, registry credentials.

local await = require("native.task").await
local fail = require "native.fail"
local log = require "native.log"
local raw = require "native.secret.raw"

local M = {}

--- @class Secret
--- @field name fun(self: Secret): string
--- @field equals fun(self: Secret, other: string|Secret): boolean  in constant time
--- @operator concat(string): Secret

local function warn_if_short(secret, too_short)
  if too_short then
    log.warn("secret " .. secret:name() .. ": shorter than 6 bytes, too short to be masked in output")
  end
  return secret
end

--- A secret from a value at hand, for example one that a program printed.
--- @param name string        shown in its place
--- @param value string|Secret
--- @return Secret
function M.value(name, value)
  return warn_if_short(raw.value(name, value))
end

--- A secret from the environment. Raises `secret.missing`.
--- @param name string
--- @param options? { optional?: boolean }  optional: nil where it is not set
--- @return Secret?
function M.from_env(name, options)
  local secret, too_short = raw.from_env(name, options and options.optional)
  return secret and warn_if_short(secret, too_short)
end

--- @param value any
--- @return boolean
M.is = raw.is

--- Text from elsewhere with every secret in it masked, as all output is.
--- @param text string
--- @return string
M.masked = raw.masked

--- @class SecretFile
--- @field path string
--- @field names string[]  in the order of the file
local SecretFile = {}
SecretFile.__index = SecretFile

--- A secret of the file. Raises `secret.missing` naming the file and the nearest name.
--- @param name string
--- @return Secret
function SecretFile:get(name)
  local secret = self:try_get(name)
  if not secret then
    fail.raise("secret.missing", "secret " .. tostring(name) .. ": not in " .. self.path, {
      name = name, source = self.path, token = name, hint = raw.nearest(tostring(name), self.names) })
  end
  return secret
end

--- @param name string
--- @return Secret?
function SecretFile:try_get(name)
  return self._values[name]
end

--- Reads a file of NAME=VALUE lines ('…' as it is, "…" with escapes, $NAME from above or from the environment).
--- Raises `secret.file` (missing, unreadable, or malformed: with `line`, `column`), `secret.missing` for an unknown
--- $NAME.
--- Warns when others may read the file.
--- @async
--- @param path string
--- @return SecretFile
function M.from_file(path)
  local file = await(raw.load(path))
  if file.warning then log.warn(file.warning) end
  for _, name in ipairs(file.short) do warn_if_short(file.values[name], true) end
  return setmetatable({ path = path, names = file.names, _values = file.values }, SecretFile)
end

return M
