--- What an agent answers, looked at before anything is read from it: a server may say what it likes, and gets a clear
--- error for it, `agent.protocol`.

local fail = require "native.fail"
local json = require "native.json"

local M = {}

local function refuse(method, host, why)
  fail.raise("agent.protocol", ("deployrun-agent: what it answered to %s is no such answer: %s"):format(method, why),
    { host = host ~= "local" and host or nil, hint = "look at who may change what runs on that server" })
end

local function check(value, shape, method, host, where)
  if type(value) ~= "table" then refuse(method, host, ("%s is a %s"):format(where, type(value))) end
  for field, wanted in pairs(shape) do
    local kind, optional = wanted:match("^(%a+)(%??)$")
    local found = value[field]
    if found == json.null then found = nil end
    if type(found) ~= kind and not (found == nil and optional == "?") then
      refuse(method, host, ("%s: `%s` must be a %s, and is a %s"):format(where, field, kind, type(found)))
    end
  end
  return value
end

--- An object. Raises `agent.protocol`.
--- @param said any
--- @param shape table<string, string>  field → the type of what is there; with a "?" it may be missing
--- @param method string                what was asked
--- @param host? string                 whose agent it is
--- @return table said
function M.object(said, shape, method, host) return check(said, shape, method, host, "it") end

--- A list of objects. Raises `agent.protocol`.
--- @param said any
--- @param shape table<string, string>  of each
--- @param method string
--- @param host? string
--- @return table[] said
function M.list(said, shape, method, host)
  if type(said) ~= "table" then refuse(method, host, ("it is a %s"):format(type(said))) end
  for index, one in ipairs(said) do check(one, shape, method, host, "entry " .. index) end
  return said
end

return M
