--- Reads a recipe's text for mistakes that would otherwise show in the middle of a deploy: a step's options are a table
--- that comes into being when the step does, after servers were connected to. Knows Lua's words, not its meaning: what
--- it cannot see (a table made elsewhere) is checked when the step runs.

local fail = require "native.fail"
local options = require "deploy.options"
local step = require "deploy.step"
local text = require "native.text"

local M = {}

--- @class Token
--- @field kind "name"|"string"|"number"|"symbol"
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

--- The words of a Lua text that compiles; comments and blanks are left out.
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
      add("number", number)
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

--- What a value that is written out is: its Lua type, and its text where that is a string; nil where it is computed.
local function literal(tokens, index)
  local token, after = tokens[index], tokens[index + 1]
  if is(token, "{") then return "table" end
  if is(token, "function") then return "function" end
  if not (is(after, ",") or is(after, ";") or is(after, "}")) then return nil end
  if token.kind == "string" then return "string", token.text:match("^[\"']([^\\]*)[\"']$") end
  if token.kind == "number" then return "number", tonumber(token.text) end
  if is(token, "true") or is(token, "false") then return "boolean" end
  return nil
end

local function fits(kind, value, types)
  for wanted in types:gmatch("[^|]+") do
    if wanted == "any" or wanted == kind then return true end
    if wanted == "integer" and kind == "number" and (not value or value == math.floor(value)) then return true end
    local timed = wanted == "duration" and kind == "string"
    if timed and (not value or pcall(text.parse_duration, value)) then return true end
    if wanted == "host" and kind == "table" then return true end
  end
  return false
end

--- Collects what is wrong, each with its place in the file.
local function collector(recipe, source)
  local problems = {}
  local function add(token, message, hint)
    local line, column = place(source, token.at)
    problems[#problems + 1] = fail.make("usage", message,
      { hint = hint, where = ("%s:%d:%d"):format(recipe, line, column) })
  end
  return problems, add
end

local function check_keys(tokens, keys, spec, what, add)
  local names, given = {}, {}
  for name in pairs(spec) do names[#names + 1] = name end
  table.sort(names)
  for _, key in ipairs(keys) do
    local name, rule = key.token.text, spec[key.token.text]
    if not rule then
      add(key.token, ("%s: unknown option `%s`"):format(what, name), text.nearest_hint(name, names))
    else
      local kind, value = literal(tokens, key.value)
      if kind and not fits(kind, value, rule[1]) then
        add(tokens[key.value], ("%s: option `%s` must be %s, got %s"):format(what, name, options.shown(rule[1]),
          kind == "string" and tokens[key.value].text or "a " .. kind))
      end
      if given[name] then add(key.token, ("%s: option `%s` is given twice"):format(what, name)) end
      given[name] = true
    end
  end
end

--- A step's call that begins at `index`: its name as written, and where its options open; nil where none do.
local function step_at(tokens, index)
  if not (is(tokens[index], ":") and is(tokens[index + 1], "step")) then return nil end
  if is(tokens[index + 2], "(") then
    if is(tokens[index + 4], ",") and is(tokens[index + 5], "{") then return tokens[index + 3], index + 5 end
    return tokens[index + 3], nil
  end
  return tokens[index + 2], nil
end

local function check_options(tokens, add)
  for i = 1, #tokens do
    local name, opening = step_at(tokens, i)
    if opening then
      local what = name.kind == "string" and ("step %s"):format(name.text) or "a step"
      local keys = keys_of(tokens, opening)
      check_keys(tokens, keys, step.OPTIONS, what, add)
      for _, key in ipairs(keys) do
        if key.token.text == "rolling" and is(tokens[key.value], "{") then
          check_keys(tokens, keys_of(tokens, key.value), step.ROLLING, what .. ", rolling", add)
        end
      end
    end
  end
end

local function has_key(tokens, opening, name, value)
  for _, key in ipairs(opening and keys_of(tokens, opening) or {}) do
    if key.token.text == name and is(tokens[key.value], value) then return true end
  end
  return false
end

local STOPS = set "error fail"

--- Steps that can never run: behind what leaves their block, after a final step of the same block, `when = false`.
local function check_reachable(tokens, add)
  local blocks = { {} }  -- the innermost last; what is known of each
  for i, token in ipairs(tokens) do
    local block = blocks[#blocks]
    if token.kind ~= "string" and CLOSES[token.text] and #blocks > 1 then
      local closed = table.remove(blocks)
      block = blocks[#blocks]
      if closed.returned and closed.plain_do then block.stopped = token end
    elseif is(token, "else") or is(token, "elseif") then
      block.stopped, block.final = nil, nil
    end
    local name, opening = step_at(tokens, i)
    if name then
      local what = name.kind == "string" and ("step %s"):format(name.text) or "a step"
      if block.stopped then add(name, what .. ": never runs: what stands before it ends the function")
      elseif has_key(tokens, opening, "when", "false") then add(name, what .. ": never runs: when = false")
      elseif block.final and not has_key(tokens, opening, "final", "true") then
        add(name, ("%s: comes after the final step %s"):format(what, block.final.text), "a final step is the last one")
      end
      if has_key(tokens, opening, "final", "true") then block.final = name end
    end
    if token.kind == "name" and STOPS[token.text] and is(tokens[i + 1], "(") then
      local from = is(tokens[i - 1], ".") and i - 2 or i
      local before = tokens[from - 1]
      -- A statement of its own: not a part of an expression, an argument or a condition.
      if before and (is(before, ")") or is(before, "end") or is(before, "}") or is(before, ";") or is(before, "do")
        or is(before, "then") or is(before, "else") or before.kind == "string" or before.kind == "number") then
        block.stopping = #blocks
        block.stopped_at = i
      end
    end
    if block.stopped_at and is(token, ")") then
      local depth = 0
      for j = block.stopped_at + 1, i do
        if is(tokens[j], "(") then depth = depth + 1 elseif is(tokens[j], ")") then depth = depth - 1 end
      end
      if depth == 0 then block.stopped, block.stopped_at = token, nil end
    end
    if is(token, "return") then block.returned = true end
    if token.kind ~= "string" and OPENS[token.text] then
      local loop = false
      for j = i - 1, math.max(1, i - 40), -1 do
        if is(tokens[j], "for") or is(tokens[j], "while") then loop = true break end
        if is(tokens[j], "do") or is(tokens[j], "end") then break end
      end
      blocks[#blocks + 1] = { plain_do = token.text == "do" and not loop }
    end
  end
end

--- Functions with steps that nobody calls.
local function check_called(tokens, add)
  local uses = {}
  for _, token in ipairs(tokens) do
    if token.kind == "name" then uses[token.text] = (uses[token.text] or 0) + 1 end
  end
  for i = 1, #tokens do
    if is(tokens[i], "local") and is(tokens[i + 1], "function") and uses[tokens[i + 2].text] == 1 then
      local depth = 0
      for j = i + 1, #tokens do
        local token = tokens[j]
        if token.kind ~= "string" and OPENS[token.text] then depth = depth + 1 end
        if token.kind ~= "string" and CLOSES[token.text] then depth = depth - 1 end
        if step_at(tokens, j) then
          add(tokens[i + 2], ("`%s`: its steps never run: nothing calls it"):format(tokens[i + 2].text))
          break
        end
        if j > i + 1 and depth == 0 and is(token, "end") then break end
      end
    end
  end
end

--- Everything that a recipe's text shows: steps' options that are unknown, given twice or of a wrong type, and (unless
--- `options_only`) steps that can never run. In the order of the file.
--- @param recipe string  path, for the places
--- @param source string  its text, which compiles
--- @param options_only? boolean
--- @return table[] errors
function M.problems(recipe, source, options_only)
  local tokens = M.tokens(source)
  local problems, add = collector(recipe, source)
  check_options(tokens, add)
  if not options_only then
    check_reachable(tokens, add)
    check_called(tokens, add)
  end
  return M.sorted(problems)
end

--- Sorts errors by their places.
--- @param problems table[]
--- @return table[] problems
function M.sorted(problems)
  local order = {}
  for index, problem in ipairs(problems) do
    local file, line, column = (problem.where or problem.message):match("^(.-):(%d+):?(%d*)")
    order[problem] = { file or "", tonumber(line) or 0, tonumber(column) or 0, index }
  end
  table.sort(problems, function(a, b)
    local x, y = order[a], order[b]
    for i = 1, 4 do
      if x[i] ~= y[i] then return x[i] < y[i] end
    end
    return false
  end)
  return problems
end

--- Raises `usage` for steps whose options are written out and wrong: the first, the others as `also`.
--- @param recipe string  path, for the message
--- @param source string  its text, which compiles
function M.recipe(recipe, source)
  local problems = M.problems(recipe, source, true)
  local first = table.remove(problems, 1)
  if not first then return end
  if #problems > 0 then first.also = problems end
  error(first, 0)
end

return M
