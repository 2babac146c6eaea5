--- Checks an options table against its declaration: unknown names, wrong types, missing ones; all at once.

local fail = require "native.fail"
local text = require "native.text"

local M = {}

--- @class OptionSpec
--- @field [1] string          type: string, number, integer, boolean, function, table, duration, host, any;
---                            several joined by "|"
--- @field required? boolean

local function is_a(value, wanted)
  local kind = type(value)
  if wanted == "any" then return true end
  if wanted == "integer" then return kind == "number" and value == math.floor(value) end
  if wanted == "duration" then return kind == "string" and pcall(text.parse_duration, value) end
  if wanted == "host" then return kind == "table" and type(value.name) == "string" end
  return kind == wanted
end

local function matches(value, types)
  for wanted in types:gmatch("[^|]+") do
    if is_a(value, wanted) then return true end
  end
  return false
end

--- Types in words: `a duration such as "30s"`.
--- @param types string  joined by "|"
--- @return string
function M.shown(types)
  return (types:gsub("|", " or "):gsub("duration", 'a duration such as "30s"'))
end

--- Raises `usage` naming the first wrong option, in the order of the alphabet, with the nearest valid name.
--- @param options table?
--- @param spec table<string, OptionSpec>
--- @param what string  whose options they are: `run:step "pull"`
--- @return table options
function M.check(options, spec, what)
  options = options or {}
  if type(options) ~= "table" then fail.usage(("%s: options must be a table, got a %s"):format(what, type(options))) end
  local names, given = {}, {}
  for name in pairs(spec) do names[#names + 1] = name end
  table.sort(names)
  for name in pairs(options) do given[#given + 1] = tostring(name) end
  table.sort(given)
  for _, name in ipairs(given) do
    local rule = spec[name]
    if not rule then
      fail.usage(("%s: unknown option `%s`"):format(what, name),
        { hint = text.nearest_hint(name, names), token = name })
    end
    if not matches(options[name], rule[1]) then
      local given_value = options[name]
      local got = type(given_value) == "string" and '"' .. given_value .. '"' or "a " .. type(given_value)
      fail.usage(("%s: option `%s` must be %s, got %s"):format(what, name, M.shown(rule[1]), got), { token = name })
    end
  end
  for _, name in ipairs(names) do
    if spec[name].required and options[name] == nil then
      fail.usage(("%s: option `%s` is required"):format(what, name))
    end
  end
  return options
end

return M
