--- Environment variables as the project's files see and change them: what is set here is given to commands and hooks,
--- and leaves this program's own environment alone.

local M = {}

--- @class Environment
local Environment = {}
Environment.__index = Environment

--- @param base? fun(name: string): string?  what is there already; this program's environment unless told
--- @return Environment
function M.new(base)
  return setmetatable({ _base = base or os.getenv, _set = {} }, Environment)
end

--- @param name string
--- @return string?
function Environment:get(name)
  local own = self._set[name]
  if own ~= nil then return own end
  return self._base(name)
end

--- @param name string
--- @param value string
function Environment:set(name, value) self._set[name] = value end

--- What was set here, for a program's environment.
--- @return table<string, string>
function Environment:changes()
  local out = {}
  for name, value in pairs(self._set) do out[name] = value end
  return out
end

return M
