--- A configuration document: what Ruby's YAML would read, with the place of every key and value, and the order of keys,
--- which decides what comes first on a container. Values are looked at through these nodes; nothing here knows Kamal's
--- keys.

local fail = require "native.fail"
local scalar = require "kamal.scalar"
local yaml = require "native.yaml"

local M = {}

--- @class ConfigNode
--- @field kind "scalar"|"list"|"map"
--- @field type? ScalarType    of a scalar
--- @field value any           of a scalar; nil for null
--- @field text? string        of a scalar: Ruby's `to_s`
--- @field items? ConfigNode[] of a list
--- @field keys? string[]      of a map, in order
--- @field at table<string, { line: integer, column: integer, file: string }>  of a map: where its keys stand
--- @field file string
--- @field line integer
--- @field column integer
local Node = {}
Node.__index = Node
M.Node = Node

--- "config/deploy.yml:3:5"
--- @return string
function Node:place() return ("%s:%d:%d"):format(self.file, self.line, self.column) end

--- Where a key of a map stands.
--- @param key string
--- @return string
function Node:key_place(key)
  local at = self.at[key]
  return ("%s:%d:%d"):format(at.file, at.line, at.column)
end

--- The value of a key; nil where the map does not have it, and for what is no map.
--- @param key string
--- @return ConfigNode?
function Node:get(key) return self.kind == "map" and self._values[key] or nil end

--- The value at the end of a path of keys; nil as soon as one is missing.
--- @param ... string
--- @return ConfigNode?
function Node:dig(...)
  local node = self
  for index = 1, select("#", ...) do
    node = node and node:get((select(index, ...)))
  end
  return node
end

--- @return boolean
function Node:is_null() return self.kind == "scalar" and self.type == "null" end

--- As ActiveSupport's `blank?`: null, false, blank text, an empty list or map.
--- @return boolean
function Node:is_blank()
  if self.kind == "list" then return #self.items == 0 end
  if self.kind == "map" then return #self.keys == 0 end
  return self.type == "null" or self.value == false or (self.type == "string" and not self.text:match("%S"))
end

--- As plain Lua: text, numbers, booleans, lists, maps; null is nil, symbols and dates are their text.
--- @return any
function Node:plain()
  if self.kind == "scalar" then return self.value end
  local out = {}
  if self.kind == "list" then
    for index, item in ipairs(self.items) do out[index] = item:plain() end
    return out
  end
  for _, key in ipairs(self.keys) do out[key] = self._values[key]:plain() end
  return out
end

--- Texts of a list's items, or of one scalar.
--- @return string[]
function Node:texts()
  if self.kind == "scalar" then return { self.text } end
  local out = {}
  for index, item in ipairs(self.items or {}) do out[index] = item.text end
  return out
end

local function node_of(fields, at)
  fields.file, fields.line, fields.column = at.file, at.line, at.column
  return setmetatable(fields, Node)
end

local NOWHERE = { file = "config", line = 1, column = 1 }

--- A scalar that stands in no file.
--- @param value string|number|boolean|nil
--- @return ConfigNode
function M.scalar(value)
  local kinds = { string = "string", boolean = "boolean", number = "integer", ["nil"] = "null" }
  return node_of({ kind = "scalar", type = kinds[type(value)], value = value,
    text = value == nil and "" or tostring(value) }, NOWHERE)
end

--- An empty map that stands in no file, or where another node does.
--- @param like? ConfigNode
--- @return ConfigNode
function M.map(like) return node_of({ kind = "map", keys = {}, at = {}, _values = {} }, like or NOWHERE) end

--- Sets a key of a map, in its old place where it has one.
--- @param key string
--- @param value ConfigNode
--- @param at? { file: string, line: integer, column: integer }
function Node:set(key, value, at)
  if not self._values[key] then self.keys[#self.keys + 1] = key end
  self._values[key], self.at[key] = value, at or value
end

local convert

local function scalar_of(raw, at)
  local kind, value, text
  if raw.kind == "null" then
    kind, value, text = "null", nil, ""
  elseif raw.tag == "str" or (not raw.plain and not raw.tag) then
    kind, value, text = "string", raw.text, raw.text
  else
    kind, value, text = scalar.scan(raw.text)
  end
  return node_of({ kind = "scalar", type = kind, value = value, text = text }, at)
end

function convert(raw, where)
  local at = where(raw)
  if raw.kind == "sequence" then
    local items = {}
    for index, item in ipairs(raw.items) do items[index] = convert(item, where) end
    return node_of({ kind = "list", items = items }, at)
  elseif raw.kind == "mapping" then
    local map = M.map(at)
    for _, member in ipairs(raw.members) do
      local key = member.key
      if member.plain then key = select(3, scalar.scan(key)) end
      map:set(key, convert(member.value, where), where(member))
    end
    return map
  end
  return scalar_of(raw, at)
end

--- Reads a document. Raises as `native.yaml` does.
--- @param text string
--- @param file string
--- @param lines? integer[]  the source's line of each line of `text`, where a template made it
--- @return ConfigNode
function M.read(text, file, lines)
  local ok, raw = pcall(yaml.tree, text, { file = file, merge_in_order = true })
  if not ok then
    local err = fail.normal(raw)
    local line = lines and err.line and lines[err.line]
    if line and line ~= err.line then
      local place = ("%s:%d:%d"):format(file, err.line, err.column or 1)
      local real = ("%s:%d:%d"):format(file, line, err.column or 1)
      if err.message:sub(1, #place) == place then err.message = real .. err.message:sub(#place + 1) end
      err.line, err.where = line, real
    end
    error(err, 0)
  end
  return convert(raw, function(part)
    return { file = file, line = lines and lines[part.line] or part.line, column = part.column }
  end)
end

--- Ruby's `deep_merge`: maps merge, everything else of `over` replaces.
--- @param base ConfigNode
--- @param over ConfigNode
--- @return ConfigNode
function M.merge(base, over)
  if base.kind ~= "map" or over.kind ~= "map" then return over end
  local out = M.map(base)
  for _, key in ipairs(base.keys) do out:set(key, base._values[key], base.at[key]) end
  for _, key in ipairs(over.keys) do
    local mine, theirs = out._values[key], over._values[key]
    out:set(key, mine and M.merge(mine, theirs) or theirs, over.at[key])
  end
  return out
end

return M
