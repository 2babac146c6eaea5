--- Secrets by name: from files, programs and standard input, else from the environment. All that are asked for are
--- found before anything is done, or named together as missing. What was looked up, and where it was found, is
--- remembered for `deployrun secrets check` (cli/secrets_check.lua); values never are.

local fail = require "native.fail"
local files = require "native.files"
local secret = require "native.secret"

local M = {}

M.value = secret.value
M.from_file = secret.from_file
M.from_whole_file = secret.from_whole_file
M.from_command = secret.from_command
M.from_stdin = secret.from_stdin

--- One place where secrets are looked for: a file of NAME=VALUE lines by its path, or a table with one of `file`,
--- `command`, `stdin`.
--- @class SecretSource : SecretShape
--- @field file? string       a path
--- @field command? string[]  a program and its arguments
--- @field stdin? boolean
--- @field timeout? string    of a command

--- @class Lookup
--- @field name string
--- @field found? string   where: "file .deployrun/secrets", "command op", "standard input", "environment"
--- @field error? table    why it could not be looked for

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

local recorded  -- while `secrets check` looks: Lookup[]

--- From here on lookups are recorded, and what is missing is no error.
--- @return Lookup[]  grows
function M._record()
  recorded = {}
  return recorded
end

function M._is_recording() return recorded ~= nil end

local function title(source)
  if type(source) == "string" then return source end
  if source.file then return source.file end
  if source.command then return "command " .. source.command[1] end
  return "standard input"
end

local function read(source)
  if type(source) == "string" then
    return files.exists(source) and secret.from_file(source) or nil
  elseif source.command then
    return secret.from_command(source.command, source)
  elseif source.stdin then
    return secret.from_stdin(source)
  elseif source.format == "dotenv" or not (source.name or source.format) then
    return secret.from_file(source.file)
  end
  return secret.from_whole_file(source.file, source)
end

--- What a source holds; read when it is first needed, once.
function Secrets:_load(index)
  local loaded = self._loaded[index]
  if loaded == nil then
    loaded = read(self._sources[index]) or false
    self._loaded[index] = loaded
  end
  return loaded
end

local function may_have(source, name) return type(source) == "string" or not source.name or source.name == name end

--- Sources in reverse: the last one that has the name counts; then the environment.
--- @async
--- @param name string
--- @return Secret?
--- @return string? where
function Secrets:try_get(name)
  if given and given[name] then return given[name], "the spec" end
  for index = #self._sources, 1, -1 do
    local source = self._sources[index]
    if may_have(source, name) then
      local loaded = self:_load(index)
      local found = loaded and loaded:try_get(name)
      if found then return found, title(source) end
    end
  end
  local found = secret.from_env(name, { optional = true })
  return found, found and "environment" or nil
end

local function recorded_get(self, name)
  local ok, found, where = pcall(self.try_get, self, name)
  recorded[#recorded + 1] = { name = name, found = ok and where or nil, error = not ok and fail.normal(found) or nil }
  return ok and found or secret.value(name, "there is no value for " .. name)
end

--- Raises `secret.missing` naming where it was looked for, and what a source raises that cannot be read.
--- @async
--- @param name string
--- @return Secret
function Secrets:get(name)
  if recorded then return recorded_get(self, name) end
  local found = self:try_get(name)
  if found then return found end
  local titles = {}
  for index, source in ipairs(self._sources) do titles[index] = title(source) end
  local message = ("secret %s: neither in %s nor in the environment"):format(name, table.concat(titles, ", "))
  local hint = ("put %s=… into %s, or set the variable"):format(name, titles[1] or "a file")
  fail.raise("secret.missing", message, { name = name, token = name, hint = hint })
end

--- Secrets from several sources. A file of lines that is not there counts as empty, for the environment may have them
--- all; a source is read when a name is looked for that it may have.
--- @param sources (string|SecretSource)[]
--- @return Secrets
function M.open(sources)
  return setmetatable({ _sources = sources, _loaded = {} }, Secrets)
end

return M
