--- What the adapters of secrets share: running a vendor's program, names, groups. Programs are run with their arguments
--- as they are, no shell between; what they print is never shown.

local fail = require "native.fail"
local json = require "native.json"
local process = require "native.process"

local M = {}

local TIMEOUT = "300s"  -- a person may have to touch a key

--- Raises `kamal.secrets`.
--- @param message string  in Kamal's words
function M.failed(message) fail.raise("kamal.secrets", message) end

--- Runs a vendor's program. `ok` is false where it fails; a program that is not there is not installed.
--- @async
--- @param call AdapterCall
--- @param argv string[]
--- @param options? { stdin?: string|Secret }
--- @return { ok: boolean, stdout: string, missing?: boolean }
function M.run(call, argv, options)
  local ok, result = pcall(process.run, argv, { check = false, env = call.environment, timeout = TIMEOUT, reads = true,
    stdin = options and options.stdin })
  if not ok then
    if result.kind == "process.spawn" then return { ok = false, stdout = "", missing = true } end
    error(result, 0)
  end
  return { ok = result.code == 0, stdout = result.stdout }
end

--- The same, where failing is an error.
--- @async
--- @param call AdapterCall
--- @param argv string[]
--- @param message string
--- @return string stdout
function M.must(call, argv, message)
  local result = M.run(call, argv)
  if not result.ok then M.failed(message) end
  return result.stdout
end

--- What a program printed as JSON.
--- @param bytes string
--- @param what string  the program
--- @return any
function M.parse(bytes, what)
  local ok, value = pcall(json.decode, bytes, { source = what })
  if not ok then M.failed(("%s printed no JSON"):format(what)) end
  return value
end

--- Raises where a program is not there.
--- @async
--- @param call AdapterCall
--- @param argv string[]
--- @param name string
function M.need(call, argv, name)
  if not M.run(call, argv).ok then M.failed(name .. " is not installed") end
end

--- @param whole string
--- @param separator string  a pattern
--- @return string[]
function M.split(whole, separator)
  local parts = {}
  for part in (whole .. separator):gmatch("(.-)" .. separator) do parts[#parts + 1] = part end
  return parts
end

--- The names below `--from`.
--- @param names string[]
--- @param from? string
--- @return string[]
function M.prefixed(names, from)
  local out = {}
  for index, name in ipairs(names) do out[index] = from and from .. "/" .. name or name end
  return out
end

--- @param whole string
--- @param prefix string
--- @return string
function M.without_prefix(whole, prefix)
  return whole:sub(1, #prefix) == prefix and whole:sub(#prefix + 1) or whole
end

--- Groups of values by key, in the order in which the keys came.
--- @return { keys: string[], of: table<string, any[]>, add: fun(key: string, value: any) }
function M.groups()
  local out = { keys = {}, of = {} }
  function out.add(key, value)
    if not out.of[key] then
      out.keys[#out.keys + 1], out.of[key] = key, {}
    end
    if value ~= nil then table.insert(out.of[key], value) end
  end
  return out
end

--- Adds words to a command.
--- @param argv string[]
--- @param ... string
--- @return string[] argv
function M.append(argv, ...)
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  return argv
end

return M
