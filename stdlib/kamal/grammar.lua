--- Kamal's command line, which is Thor's grammar: groups, commands by any unique beginning of their name, `-` for `_`,
--- flags anywhere behind the command, `--no-x`, `-h` for hosts. Which commands there are is kamal/commands.lua's.

local fail = require "native.fail"
local text = require "native.text"

local M = {}

--- @class KamalOption
--- @field name string            as in Kamal's options: "skip_push"
--- @field type? "string"|"boolean"|"numeric"|"array"|"hash"  "string" unless told
--- @field letter? string
--- @field default? any
--- @field required? boolean
--- @field repeatable? boolean
--- @field hidden? boolean
--- @field help? string
--- @field ours? boolean          Kamal has no such flag

--- @class KamalCommand
--- @field name string            "app exec"
--- @field words? string          "NAME [CMD...]"
--- @field least? integer         words that must be there
--- @field most? integer          nil: as many as there are
--- @field options? KamalOption[]
--- @field hidden? boolean
--- @field help string

--- @class KamalWords
--- @field command KamalCommand
--- @field arguments string[]
--- @field options table<string, any>

local function normal(name) return (name:gsub("-", "_")) end
local function spelled(name) return (name:gsub("_", "-")) end

local function sorted(set)
  local out = {}
  for name in pairs(set) do out[#out + 1] = name end
  table.sort(out)
  return out
end

--- What a list of commands has at a level: names (hidden ones too), and those that are shown.
local function level(commands, group)
  local names, shown = {}, {}
  for _, command in ipairs(commands) do
    local first, rest = command.name:match("^(%S+) ?(.*)$")
    local name
    if group then
      name = first == group and rest ~= "" and rest or nil
    else
      name = first
    end
    if name then
      names[name] = true
      if not command.hidden then shown[name] = true end
    end
  end
  names.help, shown.help = true, true
  return names, shown
end

--- The full name that a word stands for: itself, or the only one that begins with it. nil: none does.
local function match(names, shown, word)
  word = normal(word)
  if names[word] then return word end
  local found = {}
  for _, name in ipairs(sorted(shown)) do
    if name:sub(1, #word) == word then found[#found + 1] = name end
  end
  if #found > 1 then
    fail.usage(("Ambiguous command %s matches [%s]"):format(word, table.concat(found, ", ")), { token = word })
  end
  return found[1]
end

local function program(path) return path and "kamal " .. path or "kamal" end

--- @param commands KamalCommand[]
--- @param name string
--- @return KamalCommand?
function M.find(commands, name)
  for _, command in ipairs(commands) do
    if command.name == name then return command end
  end
end

local function is_group(commands, name)
  for _, command in ipairs(commands) do
    if command.name:match("^(%S+) ") == name then return true end
  end
  return false
end

--- Which command words begin with. A word that is none may be an alias.
--- @param commands KamalCommand[]
--- @param words string[]
--- @return { command?: KamalCommand, help?: string|true, alias?: string, rest: string[] }  help: of a group, of a
---   command, or (true) of all
function M.choose(commands, words)
  local function rest(from)
    local out = {}
    for index = from, #words do out[#out + 1] = words[index] end
    return out
  end
  local first = words[1]
  if first == nil or first:sub(1, 1) == "-" then return { help = true, rest = {} } end
  local names, shown = level(commands)
  local name = match(names, shown, first)
  if not name then return { alias = first, rest = rest(2) } end
  if name == "help" then
    local of = words[2] and match(names, shown, words[2]) or words[2]
    return { help = of or true, rest = {} }
  end
  if not is_group(commands, name) then
    if words[2] == "--help" then return { help = name, rest = {} } end
    return { command = M.find(commands, name), rest = rest(2) }
  end
  local second = words[2]
  if second == nil or second:sub(1, 1) == "-" then return { help = name, rest = {} } end
  local inner, inner_shown = level(commands, name)
  local leaf = match(inner, inner_shown, second)
  if leaf == "help" then
    local of = words[3] and match(inner, inner_shown, words[3])
    return { help = of and name .. " " .. of or name, rest = {} }
  end
  if not leaf then
    local known = sorted(inner_shown)
    fail.usage(("Could not find command %q in %q namespace."):format(second, name),
      { hint = text.nearest_hint(second, known), token = second })
  end
  if words[3] == "--help" then return { help = name .. " " .. leaf, rest = {} } end
  return { command = M.find(commands, name .. " " .. leaf), rest = rest(3) }
end

local function index_options(lists)
  local by_name, by_letter = {}, {}
  for _, list in ipairs(lists) do
    for _, option in ipairs(list or {}) do
      by_name[option.name] = option
      if option.letter then by_letter[option.letter] = option end
    end
  end
  return by_name, by_letter
end

local function number_of(switch, value)
  local number = value:match("^[-+]?%d[%d_]*%.?%d*$") and tonumber((value:gsub("_", "")))
  if not number then
    fail.usage(("Expected numeric value for '%s'; got %q"):format(switch, value), { token = value })
  end
  return number
end

local Reader = {}
Reader.__index = Reader

function Reader:_peek() return self.words[self.at] end

function Reader:_take()
  self.at = self.at + 1
  return self.words[self.at - 1]
end

--- The option that a word names; nil where it is none. The value that is written into the same word, if any.
function Reader:_option(word)
  local long, value = word:match("^%-%-([%w_-]+)=(.*)$")
  long = long or word:match("^%-%-([%w_-]+)$")
  if long then
    local name = normal(long)
    local option = self.by_name[name]
    if option then return option, value, false end
    local plain = name:match("^no_(.+)$") or name:match("^skip_(.+)$")
    option = plain and self.by_name[plain]
    if option and option.type == "boolean" then return option, value, true end
    return nil
  end
  local letter, after = word:match("^%-(%a)(.*)$")
  local option = letter and self.by_letter[letter]
  if not option then return nil end
  if after == "" then return option, nil, false end
  if after:sub(1, 1) == "=" then return option, after:sub(2), false end
  if option.type == "boolean" then
    -- `-iv` is `-i -v`, where all of them are flags.
    for other in after:gmatch(".") do
      if not self.by_letter[other] then return nil end
    end
    table.insert(self.words, self.at, "-" .. after)
    return option, nil, false
  end
  return option, after, false
end

local function is_switch(self, word)
  local at, count = self.at, #self.words
  local option = self:_option(word)
  self.at = at
  while #self.words > count do table.remove(self.words, at) end
  return option ~= nil
end

function Reader:_value(option, word, given, negated)
  local kind = option.type or "string"
  local switch = word:match("^[^=]+")
  if kind == "boolean" then
    if given ~= nil then return (given == "true" or given == "t") ~= negated end
    return not negated
  end
  local function next_value()
    local value = self:_peek()
    if value == nil or is_switch(self, value) then
      fail.usage(("No value provided for option '%s'"):format(switch), { token = switch })
    end
    return self:_take()
  end
  if kind == "array" or kind == "hash" then
    local list = { given or next_value() }
    while self:_peek() and not is_switch(self, self:_peek()) and self:_peek() ~= "--"
      and (kind == "array" or self:_peek():find(":", 1, true)) and not given do
      list[#list + 1] = self:_take()
    end
    if kind == "array" then return list end
    local map = {}
    for _, pair in ipairs(list) do
      local key, value = pair:match("^([^:]*):(.*)$")
      if not key then fail.usage(("%s takes key:value, got %q"):format(switch, pair), { token = pair }) end
      map[key] = value
    end
    return map
  end
  local value = given or next_value()
  if kind == "numeric" then return number_of(switch, value) end
  return value
end

--- Reads a command's words.
--- Raises `usage` in Thor's words.
--- @param command KamalCommand
--- @param words string[]
--- @param global KamalOption[]  those that every command has
--- @return KamalWords
function M.parse(command, words, global)
  local by_name, by_letter = index_options { global, command.options }
  local copy = {}
  for index, word in ipairs(words) do copy[index] = word end
  local self = setmetatable({ words = copy, at = 1, by_name = by_name, by_letter = by_letter }, Reader)
  local options, arguments = {}, {}
  while self:_peek() do
    local word = self:_take()
    if word == "--" then
      while self:_peek() do arguments[#arguments + 1] = self:_take() end
      break
    end
    local option, given, negated = self:_option(word)
    if not option then
      arguments[#arguments + 1] = word
    else
      local value = self:_value(option, word, given, negated)
      if option.repeatable and options[option.name] then
        table.insert(options[option.name], value)
      else
        options[option.name] = option.repeatable and { value } or value
      end
    end
  end
  local path = program(command.name)
  local usage = ("Usage: %q"):format(command.words and path .. " " .. command.words or path)
  local missing = {}
  for _, name in ipairs(sorted(by_name)) do
    local option = by_name[name]
    if option.required and options[name] == nil then missing[#missing + 1] = "'--" .. spelled(name) .. "'" end
    if options[name] == nil then options[name] = option.default end
  end
  if #missing > 0 then
    fail.usage(("No value provided for required options %s"):format(table.concat(missing, ", ")), { hint = usage })
  end
  if #arguments < (command.least or 0) or command.most and #arguments > command.most then
    local quoted, hint = {}, usage
    for index, word in ipairs(arguments) do
      quoted[index] = ("%q"):format(word)
      if word:match("^%-%-?%a") then
        local known = {}
        for _, name in ipairs(sorted(by_name)) do known[#known + 1] = "--" .. spelled(name) end
        hint = ("%s; %s"):format(usage, text.nearest_hint(word:match("^[^=]+"), known))
      end
    end
    fail.usage(("ERROR: %q was called with %s"):format(path, #quoted == 0 and "no arguments"
      or ("arguments [%s]"):format(table.concat(quoted, ", "))), { hint = hint })
  end
  return { command = command, arguments = arguments, options = options }
end

--- Whether a name fits a filter, as Ruby's `File.fnmatch` with braces: `*`, `?`, `[ab]`, `[^a]`, `{a,b}`.
--- @param filter string
--- @param name string
--- @return boolean
function M.fits(filter, name)
  local before, inside, after = filter:match("^(.-){([^{}]*)}(.*)$")
  if before then
    for one in (inside .. ","):gmatch("(.-),") do
      if M.fits(before .. one .. after, name) then return true end
    end
    return false
  end
  local pattern, at = {}, 1
  while at <= #filter do
    local char = filter:sub(at, at)
    local negated, set, last = filter:match("^%[([!^]?)([^%]]+)%]()", at)
    if set then
      pattern[#pattern + 1] = "[" .. (negated ~= "" and "^" or "") .. set:gsub("[%%%]^]", "%%%0") .. "]"
      at = last
    else
      if char == "*" then pattern[#pattern + 1] = ".*"
      elseif char == "?" then pattern[#pattern + 1] = "."
      elseif char == "\\" and at < #filter then
        at = at + 1
        pattern[#pattern + 1] = "%" .. filter:sub(at, at)
      else
        pattern[#pattern + 1] = char:gsub("%p", "%%%0")
      end
      at = at + 1
    end
  end
  local is_hidden = name:sub(1, 1) == "." and filter:sub(1, 1) ~= "."
  return not is_hidden and name:match("^" .. table.concat(pattern) .. "$") ~= nil
end

--- The items that fit any of the filters, in the filters' order, each once.
--- @generic T
--- @param filters string[]
--- @param items T[]
--- @param name_of? fun(item: T): string
--- @return T[]
function M.filter(filters, items, name_of)
  local out, seen = {}, {}
  for _, filter in ipairs(filters) do
    for _, item in ipairs(items) do
      if not seen[item] and M.fits(filter, name_of and name_of(item) or item) then
        seen[item] = true
        out[#out + 1] = item
      end
    end
  end
  return out
end

return M
