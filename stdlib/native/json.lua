--- JSON: text to values and back, with limits (16 MiB, 64 levels, a million values; a key twice is an error).

local raw = require "native.json.raw"

local M = {}

--- Stands for `null` in arrays, and in objects read with `null = true`.
M.null = raw.null

--- A value from text. Raises `json.parse` with `line`, `column` and `source`.
--- Members that are null are left out; arrays keep theirs as `json.null`. Integers are exact up to 2^53.
--- @param text string
--- @param options? { source?: string, null?: boolean }  source: a name for messages; null: keep null members
--- @return any value
function M.decode(text, options)
  return raw.decode(text, options)
end

--- Text from a value. A table is an array when its keys are 1..n or it is marked (`json.array`), else an object; an
--- empty table is an object. A secret is written as its name in brackets. Raises `usage` naming the place of what JSON
--- cannot hold.
--- @param value any
--- @param options? { pretty?: boolean }
--- @return string
function M.encode(value, options)
  return raw.encode(value, options)
end

--- Marks a table as an array, for the empty ones; without an argument a new one.
--- @param list? any[]
--- @return any[] list
function M.array(list)
  return raw.array(list)
end

return M
