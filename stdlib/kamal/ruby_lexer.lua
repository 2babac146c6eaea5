--- Words of the Ruby that configuration templates are made of. What Ruby has and this does not raises `kamal.ruby` with
--- its line; the caller may then ask a real ruby.

local fail = require "native.fail"

local M = {}

--- @class RubyToken
--- @field kind string  int, float, string, command, symbol, words, name, const, label, op, keyword, newline; of a
---   template: text, out, out_end
--- @field value any
--- @field line integer
--- @field spaced boolean  a blank stands before it
--- @field parts? (string|RubyToken[])[]  of a string with interpolation

local KEYWORDS = {}
for word in ([[if elsif else end unless do then nil true false and or not case when while until for in begin rescue
  ensure def class module return lambda self yield loop]]):gmatch("%S+") do KEYWORDS[word] = true end

local OPERATORS = { "||=", "&&=", "<=>", "===", "&.", "+=", "-=", "<<", "=>", "==", "!=", ">=", "<=", "=~", "!~", "&&",
  "||", "::", "..", "->", "+", "-", "*", "/", "%", "<", ">", "!", "=", "?", ":", ";", ",", ".", "(", ")", "[", "]", "{",
  "}", "|", "&" }

local CLOSING = { ["("] = ")", ["["] = "]", ["{"] = "}", ["<"] = ">" }
local ESCAPES = { n = "\n", t = "\t", r = "\r", s = " ", e = "\27", ["0"] = "\0", a = "\a", b = "\b" }

--- Raises `kamal.ruby`.
--- @param line integer
--- @param what string  what is there that this Ruby does not know
function M.unsupported(line, what)
  fail.raise("kamal.ruby", what, { line = line })
end

local function count_lines(text)
  local _, count = text:gsub("\n", "")
  return count
end

--- The end of `#{…}` that opens before `at`: braces and quotes inside are balanced.
local function code_end(source, at, line)
  local depth, i = 1, at
  while i <= #source do
    local char = source:sub(i, i)
    if char == '"' or char == "'" then
      local quote = char
      i = i + 1
      while i <= #source and source:sub(i, i) ~= quote do i = i + (source:sub(i, i) == "\\" and 2 or 1) end
    elseif char == "{" then
      depth = depth + 1
    elseif char == "}" then
      depth = depth - 1
      if depth == 0 then return i end
    end
    i = i + 1
  end
  return M.unsupported(line, "an interpolation that does not end")
end

--- A text from `at` up to its closing character. Returns its parts and what comes after.
local function quoted(source, at, line, open, close, interpolates)
  local parts, run, depth, i = {}, {}, 0, at
  local first = line
  local function flush()
    if #run > 0 then parts[#parts + 1] = table.concat(run) end
    run = {}
  end
  while true do
    local char = source:sub(i, i)
    if char == "" then M.unsupported(first, "a text that does not end") end
    if char == "\n" then line = line + 1 end
    if char == close and depth == 0 then break end
    if char == "\\" then
      local after = source:sub(i + 1, i + 1)
      if interpolates then
        run[#run + 1] = after == "\n" and "" or ESCAPES[after] or after
      else
        run[#run + 1] = (after == close or after == "\\") and after or "\\" .. after
      end
      i = i + 2
    elseif interpolates and source:sub(i, i + 1) == "#{" then
      flush()
      local last = code_end(source, i + 2, line)
      parts[#parts + 1] = M.tokens(source:sub(i + 2, last - 1), line)
      i = last + 1
    else
      if char == open and open ~= close then depth = depth + 1 end
      if char == close and open ~= close then depth = depth - 1 end
      run[#run + 1] = char
      i = i + 1
    end
  end
  flush()
  return parts, i + 1
end

--- Whether a value has just ended, so that what follows is an operator.
local function after_value(token)
  if not token then return false end
  local kind = token.kind
  if kind == "op" then return token.value == ")" or token.value == "]" or token.value == "}" end
  if kind == "keyword" then return token.value == "end" or token.value == "nil" or token.value == "self" end
  return kind ~= "newline" and kind ~= "label"
end

--- The words of a piece of Ruby.
--- @param source string
--- @param line integer  its first line
--- @return RubyToken[]
function M.tokens(source, line)
  local tokens, at, spaced = {}, 1, false
  local function add(kind, value, after, more)
    local token = { kind = kind, value = value, line = line, spaced = spaced }
    for key, one in pairs(more or {}) do token[key] = one end
    tokens[#tokens + 1] = token
    line = line + count_lines(source:sub(at, after - 1))
    at, spaced = after, false
  end
  local function add_text(kind, from, open, close, interpolates)
    local parts, after = quoted(source, from, line, open, close, interpolates)
    -- `"a": 1` is a hash's key.
    local chosen = tokens[#tokens] and tokens[#tokens].kind == "op" and tokens[#tokens].value == "?"
    local is_key = source:match("^:[^:]", after) and #parts == 1 and type(parts[1]) == "string"
    if kind == "string" and not chosen and is_key then
      return add("label", parts[1], after + 1)
    end
    add(kind, nil, after, { parts = parts })
  end
  while at <= #source do
    local before = tokens[#tokens]
    local char, two = source:sub(at, at), source:sub(at, at + 1)
    local blank = source:match("^[ \t\r]+()", at)
    if blank then
      at, spaced = blank, true
    elseif two == "\\\n" then
      at, spaced, line = at + 2, true, line + 1
    elseif char == "\n" then
      add("newline", nil, at + 1)
    elseif char == "#" then
      at = source:find("\n", at, true) or #source + 1
    elseif source:match("^%d", at) then
      local digits, after = source:match("^([%d_]+)()", at)
      local fraction, last = source:match("^(%.%d+)()", after)
      local number = tonumber(((digits .. (fraction or "")):gsub("_", "")))
      add(fraction and "float" or "int", number, last or after)
    elseif source:match("^[%l_]", at) then
      local name, after = source:match("^([%l_][%w_]*)()", at)
      local mark = source:match("^([?!])[^=]", after) or source:match("^([?!])$", after)
      if mark and not (mark == "?" and source:match("^%?[%w\"']", after)) then name, after = name .. mark, after + 1 end
      if source:match("^:[^:]", after) and not (before and before.kind == "op" and before.value == "?") then
        add("label", name, after + 1)
      elseif KEYWORDS[name] and not (before and (before.value == "." or before.value == "&.")) then
        add("keyword", name, after)
      else
        add("name", name, after)
      end
    elseif source:match("^%u", at) then
      local name, after = source:match("^(%u[%w_]*)()", at)
      if source:match("^:[^:]", after) then add("label", name, after + 1) else add("const", name, after) end
    elseif char == '"' then
      add_text("string", at + 1, '"', '"', true)
    elseif char == "'" then
      add_text("string", at + 1, "'", "'", false)
    elseif char == "`" then
      add_text("command", at + 1, "`", "`", true)
    elseif char == "%" and not after_value(before) and source:match("^%%[wWqQxi]?[(%[{<|!/]", at) then
      local kind, open, from = source:match("^%%([wWqQxi]?)(.)()", at)
      local token = ({ w = "words", W = "words", x = "command", i = "symbols" })[kind] or "string"
      if token == "symbols" then M.unsupported(line, "%i") end
      add_text(token, from, open, CLOSING[open] or open, kind ~= "w" and kind ~= "q")
    elseif char == ":" and source:match("^:[%a_]", at) and not after_value(before) then
      local name, after = source:match("^:([%a_][%w_]*[?!]?)()", at)
      add("symbol", name, after)
    elseif char == ":" and source:match('^:"', at) and not after_value(before) then
      local parts, after = quoted(source, at + 2, line, '"', '"', false)
      add("symbol", parts[1] or "", after)
    elseif char == "/" and not after_value(before) then
      M.unsupported(line, "a regular expression")
    elseif char == "@" or char == "$" then
      M.unsupported(line, "the variable " .. (source:match("^[@$]+[%w_]*", at)))
    else
      local found
      for _, operator in ipairs(OPERATORS) do
        if source:sub(at, at + #operator - 1) == operator then found = operator break end
      end
      if not found then M.unsupported(line, ("the character %q"):format(char)) end
      if found == "<<" and source:match("^<<[~%-]?[%u\"']", at) and not after_value(before) then
        M.unsupported(line, "a here-document")
      end
      add("op", found, at + #found)
    end
  end
  return tokens
end

return M
