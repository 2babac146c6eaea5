--- Checks a table from a file or a recipe against a schema and finds every problem at once, each with its place and the
--- nearest valid name. Knows nothing of apps: the schemas are elsewhere.

local text = require "native.text"

local M = {}

--- @class Node
--- @field [1] string        "string", "integer", "number", "boolean", "scalar", "duration", "port", "path", "secret",
---                          "list", "map" (fixed keys), "dictionary" (any keys), "either"
--- @field required? boolean
--- @field keys? table<string, Node>  of a map
--- @field of? Node          of a list's items or a dictionary's values
--- @field options? Node[]   of an either: the first that the value's type fits
--- @field choices? string[]
--- @field pattern? string   Lua pattern of a string, or of a dictionary's keys
--- @field words? string     the pattern in words
--- @field least? number

--- @class Problem
--- @field path (string|integer)[]
--- @field message string
--- @field hint? string

local function is_integer(value) return type(value) == "number" and value == math.floor(value) end

local function is_list(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count == #value
end

local function is_secret(value) return type(value) == "userdata" end

local function is_plain_table(value) return type(value) == "table" end

local SCALARS = {
  string = { function(v) return type(v) == "string" end, "text" },
  integer = { is_integer, "a whole number" },
  number = { function(v) return type(v) == "number" end, "a number" },
  boolean = { function(v) return type(v) == "boolean" end, "true or false" },
  scalar = { function(v) return type(v) ~= "table" and type(v) ~= "function" end, "text, a number, true or false" },
  duration = { function(v) return type(v) == "string" and (pcall(text.parse_duration, v)) end,
    "a duration such as \"30s\"" },
  port = { function(v) return is_integer(v) and v >= 1 and v <= 65535 end, "a port, 1 to 65535" },
  path = { function(v) return type(v) == "string" and v:sub(1, 1) == "/" end, "a path that begins with /" },
  secret = { function(v) return type(v) == "string" and v:match("^[%a_][%w_]*$") ~= nil or is_secret(v) end,
    "the name of a secret" },
}

local function shown(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) == "table" then return is_list(value) and #value > 0 and "a list" or "a map" end
  if type(value) == "userdata" then return "a secret" end
  return tostring(value)
end

local function child(path, key)
  local out = {}
  for i, part in ipairs(path) do out[i] = part end
  out[#out + 1] = key
  return out
end

--- `roles.web.hosts[2]`
--- @param path (string|integer)[]
--- @return string
function M.name(path)
  local out = ""
  for _, part in ipairs(path) do
    if type(part) == "number" then
      out = ("%s[%d]"):format(out, part)
    else
      out = out == "" and part or out .. "." .. part
    end
  end
  return out
end

local check

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function check_map(value, node, path, problems)
  if not is_plain_table(value) or (is_list(value) and #value > 0) then
    problems[#problems + 1] = { path = path, message = ("expected a map, got %s"):format(shown(value)) }
    return
  end
  local known = sorted_keys(node.keys)
  for _, key in ipairs(sorted_keys(value)) do
    local rule = node.keys[key]
    if not rule then
      problems[#problems + 1] = { path = child(path, key), key = true,
        message = ("unknown key `%s`"):format(tostring(key)), hint = text.nearest_hint(tostring(key), known) }
    else
      check(value[key], rule, child(path, key), problems)
    end
  end
  for _, key in ipairs(known) do
    if node.keys[key].required and value[key] == nil then
      problems[#problems + 1] = { path = path, message = ("`%s` is missing"):format(M.name(child(path, key))) }
    end
  end
end

local function check_dictionary(value, node, path, problems)
  if not is_plain_table(value) or (is_list(value) and #value > 0) then
    problems[#problems + 1] = { path = path, message = ("expected a map, got %s"):format(shown(value)) }
    return
  end
  for _, key in ipairs(sorted_keys(value)) do
    if type(key) ~= "string" or (node.pattern and not key:match(node.pattern)) then
      problems[#problems + 1] = { path = child(path, key), key = true,
        message = ("`%s` is no valid name: %s"):format(tostring(key), node.words or "text is expected") }
    else
      check(value[key], node.of, child(path, key), problems)
    end
  end
end

local function check_list(value, node, path, problems)
  if not is_list(value) then
    problems[#problems + 1] = { path = path, message = ("expected a list, got %s"):format(shown(value)) }
    return
  end
  if node.least and #value < node.least then
    problems[#problems + 1] = { path = path, message = ("`%s` is empty"):format(M.name(path)) }
  end
  for index, item in ipairs(value) do check(item, node.of, child(path, index), problems) end
end

local function check_either(value, node, path, problems)
  local words = {}
  for _, option in ipairs(node.options) do
    local structured = option[1] == "list" or option[1] == "map" or option[1] == "dictionary"
    local fits
    if structured then
      fits = type(value) == "table" and (option[1] == "list") == (is_list(value) and #value > 0)
    else
      fits = SCALARS[option[1]][1](value)
    end
    if fits then return check(value, option, path, problems) end
    words[#words + 1] = structured and "a " .. (option[1] == "list" and "list" or "map") or SCALARS[option[1]][2]
  end
  problems[#problems + 1] = { path = path, message = ("`%s`: expected %s, got %s"):format(M.name(path),
    table.concat(words, " or "), shown(value)) }
end

local STRUCTURES = { map = check_map, dictionary = check_dictionary, list = check_list, either = check_either }

function check(value, node, path, problems)
  local kind = node[1]
  if STRUCTURES[kind] then return STRUCTURES[kind](value, node, path, problems) end
  local rule, name = SCALARS[kind], M.name(path)
  local function problem(message, hint) problems[#problems + 1] = { path = path, message = message, hint = hint } end
  if not rule[1](value) then return problem(("`%s`: expected %s, got %s"):format(name, rule[2], shown(value))) end
  if node.pattern and type(value) == "string" and not value:match(node.pattern) then
    problem(("`%s`: %s is not valid: %s"):format(name, shown(value), node.words))
  end
  if node.least and type(value) == "number" and value < node.least then
    problem(("`%s`: at least %d, got %s"):format(name, node.least, shown(value)))
  end
  if node.choices then
    for _, choice in ipairs(node.choices) do
      if choice == value then return end
    end
    problem(("`%s`: %s is none of %s"):format(name, shown(value), table.concat(node.choices, ", ")),
      text.nearest_hint(tostring(value), node.choices))
  end
end

--- Every problem of `value`, in the order of the schema's walk; empty when there is none.
--- @param value any
--- @param node Node
--- @return Problem[]
function M.check(value, node)
  local problems = {}
  check(value, node, {}, problems)
  return problems
end

return M
