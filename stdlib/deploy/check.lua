--- Reads a recipe's text for mistakes that would otherwise show in the middle of a deploy: a step's options are a table
--- that comes into being when the step does, after servers were connected to. Knows Lua's words, not its meaning: what
--- it cannot see (a table made elsewhere) is checked when the step runs.

local fail = require "native.fail"
local step = require "deploy.step"
local text = require "native.text"

local M = {}

--- @class Token
--- @field kind "name"|"string"|"symbol"
--- @field text string
--- @field at integer  byte

local function set(words)
  local out = {}
  for word in words:gmatch("%S+") do out[word] = true end
  return out
end

local OPENS, CLOSES = set "( { [ function do if repeat", set ") } ] end until"

--- Where a long bracket that begins at `at` ends, or nil where none begins.
local function long_end(source, at)
  local level = source:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, last = source:find("]" .. level .. "]", at, true)
  return last or #source
end

local function quoted_end(source, at)
  local quote, i = source:sub(at, at), at + 1
  while i <= #source and source:sub(i, i) ~= quote do i = i + (source:sub(i, i) == "\\" and 2 or 1) end
  return i
end

local function comment_end(source, at)
  return long_end(source, at + 2) or (source:find("\n", at, true) or #source + 1) - 1
end

--- The words of a Lua text that compiles; comments, blanks and numbers are left out.
--- @param source string
--- @return Token[]
function M.tokens(source)
  local tokens, at = {}, 1
  local function add(kind, last)
    tokens[#tokens + 1] = { kind = kind, text = source:sub(at, last), at = at }
    at = last + 1
  end
  while at <= #source do
    local _, blank = source:find("^%s+", at)
    local _, name = source:find("^[%a_][%w_]*", at)
    local _, number = source:find("^%.?%d[%w_.]*", at)
    local char = source:sub(at, at)
    if blank then
      at = blank + 1
    elseif source:sub(at, at + 1) == "--" then
      at = comment_end(source, at) + 1
    elseif name then
      add("name", name)
    elseif number then
      at = number + 1
    elseif char == '"' or char == "'" then
      add("string", quoted_end(source, at))
    elseif char == "[" and long_end(source, at) then
      add("string", long_end(source, at))
    else
      add("symbol", source:find("^[=~<>]=", at) and at + 1 or at)
    end
  end
  return tokens
end

local function is(token, word) return token ~= nil and token.kind ~= "string" and token.text == word end

--- The keys written as names in the table that opens at `index`: their tokens, and the table's last index.
local function keys_of(tokens, index)
  local keys, depth = {}, 0
  for i = index, #tokens do
    local token = tokens[i]
    if token.kind ~= "string" then
      if CLOSES[token.text] then depth = depth - 1 end
      if depth == 0 and i > index then return keys, i end
      local first = is(tokens[i - 1], ",") or is(tokens[i - 1], ";") or i == index + 1
      if depth == 1 and first and token.kind == "name" and is(tokens[i + 1], "=") then
        keys[#keys + 1] = { token = token, value = i + 2 }
      end
      if OPENS[token.text] then depth = depth + 1 end
    end
  end
  return keys, #tokens
end

local function place(source, at)
  local line, start = 1, 1
  for newline in source:sub(1, at - 1):gmatch("()\n") do line, start = line + 1, newline + 1 end
  return line, at - start + 1
end

local function check_keys(recipe, source, keys, spec, what)
  local names = {}
  for name in pairs(spec) do names[#names + 1] = name end
  table.sort(names)
  for _, key in ipairs(keys) do
    if not spec[key.token.text] then
      local line, column = place(source, key.token.at)
      fail.usage(("%s: unknown option `%s`"):format(what, key.token.text), {
        hint = text.nearest_hint(key.token.text, names), where = ("%s:%d:%d"):format(recipe, line, column) })
    end
  end
end

--- Raises `usage` for the first step whose options are written out and unknown.
--- @param recipe string  path, for the message
--- @param source string  its text, which compiles
function M.recipe(recipe, source)
  local tokens = M.tokens(source)
  for i = 1, #tokens do
    if is(tokens[i], ":") and is(tokens[i + 1], "step") and is(tokens[i + 2], "(") and is(tokens[i + 4], ",")
      and is(tokens[i + 5], "{") then
      local name = tokens[i + 3]
      local what = name.kind == "string" and ("step %s"):format(name.text) or "a step"
      local keys = keys_of(tokens, i + 5)
      check_keys(recipe, source, keys, step.OPTIONS, what)
      for _, key in ipairs(keys) do
        if key.token.text == "rolling" and is(tokens[key.value], "{") then
          check_keys(recipe, source, keys_of(tokens, key.value), step.ROLLING, what .. ", rolling")
        end
      end
    end
  end
end

return M
