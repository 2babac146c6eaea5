--- Ruby's values in Lua, and the methods of theirs that configuration templates call. Text, numbers and booleans are
--- Lua's; nil is NIL, so that lists can hold it.

local json = require "native.json"
local lexer = require "kamal.ruby_lexer"
local scalar = require "kamal.scalar"

local M = {}

local NIL = setmetatable({}, { __tostring = function() return "nil" end })
M.NIL = NIL

--- @class RubyArray
--- @field array true

--- @class RubyHash
--- @field hash true
--- @field keys any[]
--- @field values table<any, any>

local Symbol = {}
local symbols = {}

--- @param name string
--- @return table
function M.symbol(name)
  symbols[name] = symbols[name] or setmetatable({ symbol = name }, Symbol)
  return symbols[name]
end

--- @param items? any[]
--- @return RubyArray
function M.array(items)
  items = items or {}
  items.array = true
  return items
end

--- @return RubyHash
function M.hash() return { hash = true, keys = {}, values = {} } end

local function truthy(value) return value ~= NIL and value ~= false end
M.truthy = truthy

local function get(hash, key)
  local value = hash.values[key]
  if value == nil then return NIL end
  return value
end

--- @param hash RubyHash
--- @param key any
--- @param value any
function M.set(hash, key, value)
  if hash.values[key] == nil then hash.keys[#hash.keys + 1] = key end
  hash.values[key] = value
end

--- A value of Lua's (decoded JSON) as one of these.
--- @param value any
--- @return any
function M.from_lua(value)
  if value == nil or value == json.null then return NIL end
  if type(value) ~= "table" then return value end
  if getmetatable(value) ~= nil or #value > 0 then
    local out = M.array()
    for index, item in ipairs(value) do out[index] = M.from_lua(item) end
    return out
  end
  local out, keys = M.hash(), {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do M.set(out, key, M.from_lua(value[key])) end
  return out
end

local function number_text(value)
  return value == math.floor(value) and ("%.0f"):format(value) or scalar.float_text(value)
end

local inspect

--- Ruby's `to_s`.
--- @param value any
--- @return string
function M.to_s(value)
  if value == NIL then return "" end
  if type(value) == "number" then return number_text(value) end
  if type(value) ~= "table" then return tostring(value) end
  if value.symbol then return value.symbol end
  if value.float then return scalar.float_text(value.float) end
  return inspect(value)
end

function inspect(value)
  if value == NIL then return "nil" end
  if type(value) == "string" then return '"' .. value:gsub('[\\"]', "\\%0"):gsub("\n", "\\n") .. '"' end
  if type(value) ~= "table" or value.float then return M.to_s(value) end
  if value.symbol then return ":" .. value.symbol end
  local parts = {}
  if value.array then
    for index, item in ipairs(value) do parts[index] = inspect(item) end
    return "[" .. table.concat(parts, ", ") .. "]"
  end
  for index, key in ipairs(value.keys) do parts[index] = inspect(key) .. "=>" .. inspect(value.values[key]) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function to_json(value)
  if value == NIL then return "null" end
  if type(value) == "string" then return json.encode(value) end
  if type(value) ~= "table" or value.float then return M.to_s(value) end
  if value.symbol then return json.encode(value.symbol) end
  local parts = {}
  if value.array then
    for index, item in ipairs(value) do parts[index] = to_json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for index, key in ipairs(value.keys) do
    parts[index] = json.encode(M.to_s(key)) .. ":" .. to_json(value.values[key])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function is_empty(value)
  if value == NIL or value == false then return true end
  if type(value) == "string" then return not value:match("%S") end
  if type(value) == "table" and value.array then return #value == 0 end
  if type(value) == "table" and value.hash then return #value.keys == 0 end
  return false
end

local function equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  if a.float or b.float then return (a.float or a) == (b.float or b) end
  if a.array and b.array and #a == #b then
    for index in ipairs(a) do
      if not equal(a[index], b[index]) then return false end
    end
    return true
  end
  return false
end
M.equal = equal

local function escaped(text) return (text:gsub("%p", "%%%0")) end

local function split(text, separator, limit)
  local out, at = M.array(), 1
  if separator == nil or separator == " " then
    for word in text:gmatch("%S+") do out[#out + 1] = word end
    return out
  end
  if separator == "" then
    for char in text:gmatch("[%z\1-\127\194-\244][\128-\191]*") do out[#out + 1] = char end
    return out
  end
  while not limit or #out < limit - 1 do
    local from, to = text:find(separator, at, true)
    if not from then break end
    out[#out + 1] = text:sub(at, from - 1)
    at = to + 1
  end
  out[#out + 1] = text:sub(at)
  if not limit then
    while #out > 0 and out[#out] == "" do out[#out] = nil end
  end
  return out
end

--- Methods: (receiver, arguments, block, line) → value. `block` is a Lua function of Ruby values.
local any, strings, numbers, arrays, hashes = {}, {}, {}, {}, {}

any["to_s"] = function(value) return M.to_s(value) end
any["inspect"] = function(value) return inspect(value) end
any["to_json"] = function(value) return to_json(value) end
any["nil?"] = function(value) return value == NIL end
any["blank?"] = function(value) return is_empty(value) end
any["present?"] = function(value) return not is_empty(value) end
any["presence"] = function(value) return is_empty(value) and NIL or value end
any["freeze"] = function(value) return value end
any["dup"] = any["freeze"]
any["itself"] = any["freeze"]
any["to_a"] = function(value) return value == NIL and M.array() or M.array { value } end
any["then"] = function(value, _, block) return block(value) end
any["tap"] = function(value, _, block)
  block(value)
  return value
end
any["to_i"] = function(value) return value == NIL and 0 or nil end

strings["strip"] = function(text) return (text:match("^%s*(.-)%s*$")) end
strings["lstrip"] = function(text) return (text:gsub("^%s+", "")) end
strings["rstrip"] = function(text) return (text:gsub("%s+$", "")) end
strings["chomp"] = function(text, arguments)
  local ending = arguments[1]
  if ending then return text:sub(-#ending) == ending and text:sub(1, -#ending - 1) or text end
  return (text:gsub("\r?\n$", ""))
end
strings["upcase"] = function(text) return text:upper() end
strings["downcase"] = function(text) return text:lower() end
strings["capitalize"] = function(text) return text:sub(1, 1):upper() .. text:sub(2):lower() end
strings["to_i"] = function(text)
  return tonumber((text:match("^%s*([-+]?%d[%d_]*)") or "0"):gsub("_", ""):gsub("^%+", ""), 10)
end
strings["to_sym"] = function(text) return M.symbol(text) end
strings["empty?"] = function(text) return text == "" end
strings["size"] = function(text) return (select(2, text:gsub("[^\128-\191]", ""))) end
strings["length"] = strings["size"]
strings["include?"] = function(text, arguments) return text:find(arguments[1], 1, true) ~= nil end
strings["start_with?"] = function(text, arguments)
  for _, prefix in ipairs(arguments) do
    if text:sub(1, #prefix) == prefix then return true end
  end
  return false
end
strings["end_with?"] = function(text, arguments)
  for _, ending in ipairs(arguments) do
    if ending == "" or text:sub(-#ending) == ending then return true end
  end
  return false
end
strings["gsub"] = function(text, arguments)
  return (text:gsub(escaped(arguments[1]), (arguments[2]:gsub("%%", "%%%%"))))
end
strings["sub"] = function(text, arguments)
  return (text:gsub(escaped(arguments[1]), (arguments[2]:gsub("%%", "%%%%")), 1))
end
strings["tr"] = function(text, arguments)
  if #arguments[1] ~= 1 or #arguments[2] > 1 then return nil end
  return (text:gsub(escaped(arguments[1]), (arguments[2]:gsub("%%", "%%%%"))))
end
strings["delete_prefix"] = function(text, arguments)
  local prefix = arguments[1]
  return text:sub(1, #prefix) == prefix and text:sub(#prefix + 1) or text
end
strings["delete_suffix"] = function(text, arguments)
  local ending = arguments[1]
  return text:sub(-#ending) == ending and text:sub(1, -#ending - 1) or text
end
strings["split"] = function(text, arguments) return split(text, arguments[1], arguments[2]) end
strings["lines"] = function(text)
  local out = M.array()
  for line in text:gmatch("[^\n]*\n?") do
    if line ~= "" then out[#out + 1] = line end
  end
  return out
end
strings["chars"] = function(text) return split(text, "") end
strings["concat"] = function(text, arguments) return text .. table.concat(arguments) end

numbers["to_i"] = function(value) return math.floor(value) end
numbers["times"] = function(count, _, block)
  for index = 0, count - 1 do block(index) end
  return count
end

local function each_item(list, fn)
  for index, item in ipairs(list) do fn(item, index) end
end

local function mapped(list, fn)
  local out = M.array()
  each_item(list, function(item, index)
    local value = fn(item, index)
    if value ~= nil then out[#out + 1] = value end
  end)
  return out
end

arrays["each"] = function(list, _, block)
  each_item(list, function(item) block(item) end)
  return list
end
arrays["each_with_index"] = function(list, _, block)
  each_item(list, function(item, index) block(item, index - 1) end)
  return list
end
arrays["map"] = function(list, _, block) return mapped(list, function(item) return block(item) end) end
arrays["collect"] = arrays["map"]
arrays["flat_map"] = function(list, _, block)
  local out = M.array()
  each_item(list, function(item)
    local value = block(item)
    if type(value) == "table" and value.array then
      each_item(value, function(one) out[#out + 1] = one end)
    else
      out[#out + 1] = value
    end
  end)
  return out
end
arrays["select"] = function(list, _, block)
  return mapped(list, function(item) return truthy(block(item)) and item or nil end)
end
arrays["filter"] = arrays["select"]
arrays["reject"] = function(list, _, block)
  return mapped(list, function(item) return not truthy(block(item)) and item or nil end)
end
arrays["find"] = function(list, _, block)
  for _, item in ipairs(list) do
    if truthy(block(item)) then return item end
  end
  return NIL
end
arrays["detect"] = arrays["find"]
arrays["any?"] = function(list, _, block)
  for _, item in ipairs(list) do
    if not block and truthy(item) or block and truthy(block(item)) then return true end
  end
  return false
end
arrays["compact"] = function(list) return mapped(list, function(item) return item ~= NIL and item or nil end) end
arrays["uniq"] = function(list)
  local seen = {}
  return mapped(list, function(item)
    if seen[item] then return nil end
    seen[item] = true
    return item
  end)
end
arrays["sort"] = function(list)
  local out = mapped(list, function(item) return item end)
  table.sort(out)
  return out
end
arrays["reverse"] = function(list)
  local out = M.array()
  for index = #list, 1, -1 do out[#out + 1] = list[index] end
  return out
end
arrays["join"] = function(list, arguments)
  local texts = {}
  for index, item in ipairs(list) do texts[index] = M.to_s(item) end
  return table.concat(texts, arguments[1] or "")
end
arrays["first"] = function(list, arguments)
  if arguments[1] then return mapped(list, function(item, index) return index <= arguments[1] and item or nil end) end
  return #list > 0 and list[1] or NIL
end
arrays["last"] = function(list) return #list > 0 and list[#list] or NIL end
arrays["size"] = function(list) return #list end
arrays["length"], arrays["count"] = arrays["size"], arrays["size"]
arrays["empty?"] = function(list) return #list == 0 end
arrays["to_a"] = function(list) return list end
arrays["include?"] = function(list, arguments)
  for _, item in ipairs(list) do
    if equal(item, arguments[1]) then return true end
  end
  return false
end
arrays["push"] = function(list, arguments)
  for _, item in ipairs(arguments) do list[#list + 1] = item end
  return list
end

hashes["fetch"] = function(hash, arguments, block)
  local value = hash.values[arguments[1]]
  if value ~= nil then return value end
  if block then return block(arguments[1]) end
  return arguments[2]
end
hashes["keys"] = function(hash) return mapped(hash.keys, function(key) return key end) end
hashes["values"] = function(hash) return mapped(hash.keys, function(key) return hash.values[key] end) end
hashes["key?"] = function(hash, arguments) return hash.values[arguments[1]] ~= nil end
hashes["has_key?"], hashes["include?"] = hashes["key?"], hashes["key?"]
hashes["size"] = function(hash) return #hash.keys end
hashes["empty?"] = function(hash) return #hash.keys == 0 end
hashes["each"] = function(hash, _, block)
  for _, key in ipairs(hash.keys) do block(key, hash.values[key]) end
  return hash
end
hashes["each_pair"] = hashes["each"]
hashes["map"] = function(hash, _, block)
  return mapped(hash.keys, function(key) return block(key, hash.values[key]) end)
end
hashes["dig"] = function(hash, arguments)
  local value = hash
  for _, key in ipairs(arguments) do
    if value == NIL then return NIL end
    value = M.index(value, key)
  end
  return value
end

--- `value[key]`.
--- @param value any
--- @param key any
--- @return any?  nil: not known here
function M.index(value, key)
  if type(value) == "string" and type(key) == "number" then
    if key < 0 then key = #value + key end
    local char = value:sub(key + 1, key + 1)
    return char == "" and NIL or char
  elseif type(value) == "table" and value.hash then
    return get(value, key)
  elseif type(value) == "table" and value.array and type(key) == "number" then
    if key < 0 then key = #value + key end
    local item = value[key + 1]
    return item == nil and NIL or item
  end
end

local function methods_of(value)
  if type(value) == "string" then return strings end
  if type(value) == "number" then return numbers end
  if type(value) == "table" and value.array then return arrays end
  if type(value) == "table" and value.hash then return hashes end
  return any
end

--- Calls a method.
--- @param value any
--- @param name string
--- @param arguments any[]
--- @param block fun(...): any
--- @param line integer
--- @return any
function M.call(value, name, arguments, block, line)
  local method = methods_of(value)[name] or any[name]
  local ok, result = pcall(function() return method and method(value, arguments, block) end)
  if not ok and type(result) == "table" and result.kind then error(result, 0) end
  if ok and result ~= nil then return result end
  if value == NIL then lexer.unsupported(line, ("`%s` of nil"):format(name)) end
  return lexer.unsupported(line, ("the method `%s`"):format(name))
end

return M
