--- Files of NAME=value lines in the dialect of Ruby's dotenv 3.2 as Kamal uses it: export, `=` or `: `, quotes over
--- several lines, `#`, `$NAME`, `${NAME}`, `$(command)`. Where the original changes a value in silence (`$` in what a
--- command prints, lines that are skipped) the value is the right one here, and a note tells the difference.

local fail = require "native.fail"

local M = {}

--- @class DotenvOptions
--- @field file string
--- @field env fun(name: string): string?
--- @field run fun(command: string, line: integer): string, boolean?  what a command prints, without its last newline,
---   and whether that is escaped for a shell; raises where it fails

--- @class Dotenv
--- @field names string[]                 in the order of the file
--- @field values table<string, string>
--- @field lines table<string, integer>
--- @field notes string[]                 what differs from what Kamal makes of the file

--- Where a quoted value that begins at `at` ends, and what may follow; nil where that is no quoted value of a line.
local function quoted_end(text, at)
  local quote = text:match("^%s*(['\"])", at)
  if not quote then return nil end
  local open = text:find(quote, at, true)
  local i = open + 1
  local last
  while i <= #text do
    local char = text:sub(i, i)
    if char == "\\" and text:sub(i + 1, i + 1) == quote then
      i = i + 2
    elseif char == quote then
      last = i
      break
    else
      i = i + 1
    end
  end
  if not last then return nil end
  local rest_end = text:match("^[ \t]*()", last + 1)
  local after = text:match("^#[^\n]*()", rest_end) or rest_end
  if after <= #text and text:sub(after, after) ~= "\n" then return nil end
  return text:sub(open + 1, last - 1), after, quote
end

--- One line's name, value and quote, and where the next line begins; nil for what is none.
local function read_line(text, at)
  local export, from = text:match("^[ \t]*(export[ \t]+)()", at)
  local name, after = text:match("^[ \t]*([%w_.]+)()", from or at)
  if not name then return nil end
  local equals = text:match("^[ \t]*=()", after) or text:match("^:[ \t]()", after)
  if not equals then
    local rest = text:match("^[ \t]*()", after)
    rest = text:match("^#[^\n]*()", rest) or rest
    if rest <= #text and text:sub(rest, rest) ~= "\n" then return nil end
    return { name = name, bare = true, export = export ~= nil, next = rest }
  end
  local value, rest, quote = quoted_end(text, equals)
  if value then return { name = name, value = value, quote = quote, next = rest } end
  local plain, last = text:match("^([^#\n]*)()", equals)
  last = text:match("^#[^\n]*()", last) or last
  return { name = name, value = plain:match("^%s*(.-)%s*$"), next = last, cut = text:sub(last - 1, last - 1) ~= "" and
    text:match("^[^#\n]*%S(#)", equals) ~= nil }
end

--- Where a `(` that opens at `at` is closed again, escaped parentheses left alone; nil where it is not, or is empty.
local function closing(text, at)
  local depth, i = 0, at
  while i <= #text do
    local char = text:sub(i, i)
    if char == "\\" then
      i = i + 1
    elseif char == "(" then
      depth = depth + 1
    elseif char == ")" then
      depth = depth - 1
      if depth == 0 then return i > at + 1 and i or nil end
    end
    i = i + 1
  end
end

--- Replaces `$NAME` and `${NAME}`; `\$` stays a dollar.
--- @param text string
--- @param lookup fun(name: string): string?
--- @return string
function M.substitute(text, lookup)
  local out, at = {}, 1
  while true do
    local dollar = text:find("$", at, true)
    if not dollar then break end
    local escaped = text:sub(dollar - 1, dollar - 1) == "\\" and dollar > at
    local brace, name, after = text:match("^%$({?)([%w_]+)()", dollar)
    if text:sub(dollar + 1, dollar + 1) == "(" then
      out[#out + 1] = text:sub(at, dollar)
      at = dollar + 1
    elseif escaped then
      out[#out + 1] = text:sub(at, dollar - 2) .. "$"
      at = dollar + 1
    elseif name then
      if brace == "{" or text:sub(after, after) == "}" then after = text:match("^}?()", after) end
      out[#out + 1] = text:sub(at, dollar - 1) .. (lookup(name) or "")
      at = after
    else
      out[#out + 1] = text:sub(at, dollar)
      at = dollar + 1
    end
  end
  out[#out + 1] = text:sub(at)
  return table.concat(out)
end

local function unescape(text) return (text:gsub("\\([^$])", "%1")) end

--- `\n` and `\r` stay two characters when backslashes are taken out.
local function keep_newlines(text) return (text:gsub("\\n", "\\\\n"):gsub("\\r", "\\\\r")) end

local Reader = {}
Reader.__index = Reader

function Reader:_lookup(name)
  local own = self.result.values[name]
  if own ~= nil then return own end
  return self.options.env(name)
end

function Reader:_note(line, message)
  self.result.notes[#self.result.notes + 1] = ("%s:%d: %s"):format(self.options.file, line, message)
end

--- `$(…)` is run, the text between is substituted; what a command prints is never looked into.
function Reader:_expand(text, line, name)
  local function lookup(one) return self:_lookup(one) end
  local out, at, from = {}, 1, 1
  while true do
    local open = text:find("$(", at, true)
    local close = open and closing(text, open + 1)
    if not open then break end
    if not close then
      at = open + 2
    elseif open > 1 and text:sub(open - 1, open - 1) == "\\" then
      out[#out + 1] = M.substitute(text:sub(from, open - 2), lookup) .. text:sub(open, close)
      at, from = close + 1, close + 1
    else
      local command = M.substitute(text:sub(open + 2, close - 1), lookup)
      local printed, is_escaped = self.options.run(command, line)
      local seen_by_kamal = not is_escaped and M.substitute(printed, lookup)
      if seen_by_kamal and seen_by_kamal ~= printed then
        self:_note(line, ("%s: what the command prints has a $ in it. Kamal looks for variables there and makes %d " ..
          "characters of these %d; here they stay as they are"):format(name, #seen_by_kamal, #printed))
      end
      out[#out + 1] = M.substitute(text:sub(from, open - 1), lookup) .. printed
      at, from = close + 1, close + 1
    end
  end
  out[#out + 1] = M.substitute(text:sub(from), lookup)
  return table.concat(out)
end

function Reader:_value(read, line)
  local text = read.value
  if read.quote == "'" then return text end
  if read.quote == '"' then
    if self:_lookup("DOTENV_LINEBREAK_MODE") == "legacy" then
      text = text:gsub("\\n", "\n"):gsub("\\r", "\r")
    else
      text = keep_newlines(text)
    end
  end
  local open = text:find("$(", 1, true)
  local close = open and closing(text, open + 1)
  if close and text:sub(open, close):find("\\[^$]") then
    self:_note(line, ("%s: backslashes are taken out before the command runs, as Kamal does"):format(read.name))
  end
  return self:_expand(unescape(text), line, read.name)
end

--- Reads a file. Raises what `run` raises, and `kamal.secrets` for an `export` of what has no value.
--- @async
--- @param text string
--- @param options DotenvOptions
--- @return Dotenv
function M.parse(text, options)
  local result = { names = {}, values = {}, lines = {}, notes = {} }
  local reader = setmetatable({ result = result, options = options }, Reader)
  text = text:gsub("\r\n?", "\n")
  local at, line = 1, 1
  while at <= #text do
    local blank = text:match("^[ \t]*\n()", at) or text:match("^[ \t]*#[^\n]*\n?()", at)
    if blank then
      line, at = line + 1, blank
    else
      local read = read_line(text, at)
      local rest = read and read.next or text:match("^[^\n]*()", at)
      if not read then
        if text:sub(at, rest - 1):match("%S") then
          reader:_note(line, "this is no NAME=value; it is skipped, as Kamal does")
        end
      elseif read.bare and read.export then
        if result.values[read.name] == nil then
          fail.raise("kamal.secrets", ("%s:%d: Line %q has an unset variable"):format(options.file, line,
            text:sub(at, rest - 1)), { where = ("%s:%d"):format(options.file, line) })
        end
      else
        if read.cut then reader:_note(line, read.name .. ": the value ends at its #; quote it to keep what follows") end
        local value = read.bare and "" or reader:_value(read, line)
        if result.values[read.name] == nil then result.names[#result.names + 1] = read.name end
        result.values[read.name], result.lines[read.name] = value, line
      end
      line = line + select(2, text:sub(at, rest - 1):gsub("\n", "")) + 1
      at = rest + 1
    end
  end
  return result
end

return M
