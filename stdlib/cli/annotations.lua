--- Reads the LuaCATS comments of the stdlib: what `doc`, `types` and docs/api are made of. Knows the few tags that are
--- used here (class, alias, field, param, return, async, generic, operator, type); a tag it does not know is a mistake.

local stdlib = require "native.stdlib"

local M = {}

--- @class Named  a parameter, a field or a result
--- @field name? string
--- @field type string
--- @field optional boolean
--- @field text string

--- @class Entry
--- @field kind "function"|"value"|"class"
--- @field name string      `exec` of `function Session:exec`, the class's own name
--- @field owner? string    `Session`, or `M` for what the module returns
--- @field colon boolean    called with a colon
--- @field module string    "native.ssh"
--- @field file string
--- @field line integer     of the function or the class
--- @field text string      what is said before the tags
--- @field params Named[]
--- @field returns Named[]
--- @field fields Named[]   of a class
--- @field parent? string   of a class
--- @field alias? string    the type that it is another name of
--- @field async boolean
--- @field generics string[]
--- @field code string      the line below the comment

--- @class Module
--- @field name string
--- @field file string
--- @field text string      the comment that the file opens with
--- @field entries Entry[]
--- @field group? string  while it is read
--- @field handed { name: string, module: string, field?: string }[]  what it hands on from other modules

local TAGS = {}

--- Splits "fun(a: b): c, d?  what it is" into the type and the rest: a blank ends a type unless it is in brackets or
--- comes after `:`, `,` or `|`.
--- @param text string
--- @return string type
--- @return string rest
function M.take_type(text)
  local depth, last, at = 0, "", 1
  while at <= #text do
    local char = text:sub(at, at)
    if char:match("[%(%[{<]") then depth = depth + 1 end
    if char:match("[%)%]}>]") then depth = depth - 1 end
    if char == '"' then
      at = text:find('"', at + 1, true) or #text
    elseif char == " " then
      if depth == 0 and not last:match("[:,|]") then break end
    end
    if char ~= " " then last = char end
    at = at + 1
  end
  return text:sub(1, at - 1), (text:sub(at):gsub("^%s+", ""))
end

local function named(rest)
  local name, optional, more = rest:match("^(%[?[%w_]+%]?)(%??)%s+(.*)$")
  if not name then
    name, more = rest:match("^(%.%.%.)%s+(.*)$")
    optional = ""
  end
  if not name then return nil end
  local kind, text = M.take_type(more)
  return { name = name, type = kind, optional = optional == "?", text = text }
end

TAGS.param = function(entry, rest)
  local item = named(rest)
  if not item then return "no name and type" end
  entry.params[#entry.params + 1] = item
  return nil, item
end

TAGS.field = function(entry, rest)
  local item = named(rest)
  if not item then return "no name and type" end
  entry.fields[#entry.fields + 1] = item
  return nil, item
end

TAGS["return"] = function(entry, rest)
  local kind, more = M.take_type(rest)
  local name, text = more:match("^([%a_][%w_]*)%s%s+(.*)$")
  if not name then name, text = more:match("^([%a_][%w_]*)$"), "" end
  if not name then text = more end
  local item = { name = name, type = kind, optional = false, text = text }
  entry.returns[#entry.returns + 1] = item
  return nil, item
end

TAGS["class"] = function(entry, rest)
  local name, parent, text = rest:match("^([%w_]+):%s*([%w_]+)%s*(.*)$")
  if not name then name, text = rest:match("^([%w_]+)%s*(.*)$") end
  if not name then return "no name" end
  entry.kind, entry.name, entry.parent = "class", name, parent
  if text ~= "" then entry.text = entry.text == "" and text or entry.text .. "\n" .. text end
end

TAGS["alias"] = function(entry, rest)
  local name, more = rest:match("^([%w_]+)%s+(.*)$")
  if not name then return "no name and type" end
  local kind, text = M.take_type(more)
  entry.kind, entry.name, entry.alias = "class", name, kind
  entry.returns[1] = { type = kind, text = text, optional = false }
end

--- A hint for readers of the source.
TAGS.see = function() end

TAGS.async = function(entry) entry.async = true end
TAGS.generic = function(entry, rest) entry.generics[#entry.generics + 1] = rest end
TAGS.operator = function(entry, rest) entry.operators[#entry.operators + 1] = rest end
TAGS["type"] = function(entry, rest) entry.returns[1] = { type = rest, text = "", optional = false } end

local function new_entry(module, file)
  return { kind = "value", name = "", colon = false, module = module, file = file, line = 0, text = "", params = {},
    returns = {}, fields = {}, async = false, generics = {}, operators = {}, code = "" }
end

--- What the line below a comment declares; false for what is nobody's business outside its file.
local function declared(entry, code, line)
  entry.code = code
  if entry.kind == "class" then
    entry.line = line - 1
    return true
  end
  entry.line = line
  local owner, mark, name, params = code:match("^function ([%w_]+)([.:])([%w_]+)(%b())")
  if owner then
    entry.kind, entry.owner, entry.colon, entry.name = "function", owner, mark == ":", name
    entry.signature = params
    return name:sub(1, 1) ~= "_"
  end
  owner, name = code:match("^([%u][%w_]*)%.([%a][%w_]*)%s*=")
  if owner then
    local right = code:match("=%s*(.*)$")
    entry.owner, entry.name = owner, name
    entry.kind = (#entry.params > 0 or #entry.returns > 0) and right:match("^[%w_.]+$") and "function" or "value"
    return name:sub(1, 1) ~= "_"
  end
  return false
end

local function add_line(entry, item, content, problems, where)
  local tag, rest = content:match("^@(%a+)%s*(.*)$")
  if tag then
    if not TAGS[tag] then
      problems[#problems + 1] = ("%s: unknown tag @%s"):format(where, tag)
      return nil
    end
    local wrong, made = TAGS[tag](entry, rest)
    if wrong then problems[#problems + 1] = ("%s: @%s: %s"):format(where, tag, wrong) end
    return made or {}
  end
  if item then
    -- A tag goes on over indented lines; where its type is not closed yet, they belong to that.
    local open = item.type and select(2, item.type:gsub("[%({<%[]", "")) ~= select(2, item.type:gsub("[%)}>%]]", ""))
    if open then
      item.type, item.text = M.take_type(item.type .. " " .. content:gsub("^%s+", ""))
    elseif item.text then
      item.text = item.text .. (item.text == "" and "" or " ") .. content:gsub("^%s+", "")
    end
    return item
  end
  entry.text = entry.text .. (entry.text == "" and "" or "\n") .. content
  return nil
end

--- What a module hands on when it is asked for: `app = function() return require("deploy.app").app end,`; a group of
--- several is a function of its own lines.
local function handed_line(out, line)
  local group = line:match("^  ([%w_]+) = function%(%)$")
  if group then out.group = group end
  local name, from, field = line:match('^  ([%w_]+) = function%(%) return require%(?%s*"([%w_.]+)"%)?%.?([%w_]*) end,$')
  if not name then
    name, from, field = line:match('^      ([%w_]+) = require%("([%w_.]+)"%)%.([%w_]+),$')
    name = name and out.group and ("%s.%s"):format(out.group, name)
  end
  if name then out.handed[#out.handed + 1] = { name = name, module = from, field = field ~= "" and field or nil } end
end

--- What a Lua text documents, and what is wrong with its comments.
--- @param source string
--- @param module string
--- @param file string
--- @return Module
--- @return string[] problems
function M.read(source, module, file)
  local out, problems = { name = module, file = file, text = "", entries = {}, handed = {} }, {}
  local entry, item, first, number = nil, nil, true, 0
  for line in (source .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local content = line:match("^%-%-%- ?(.*)$")
    if content then
      if content:match("^@class") and entry and entry.kind ~= "class" and entry.text ~= "" and item then entry = nil end
      entry = entry or new_entry(module, file)
      item = add_line(entry, item, content, problems, ("%s:%d"):format(file, number))
    elseif entry then
      if first and out.text == "" and line == "" and entry.kind ~= "class" and #entry.params == 0 then
        out.text = entry.text
      elseif declared(entry, line, number) then
        out.entries[#out.entries + 1] = entry
      end
      entry, item, first = nil, nil, false
    elseif line ~= "" then
      first = false
      handed_line(out, line)
    end
  end
  return out, problems
end

--- Every module of the stdlib that others may use; what commands and plans are made of is not among them.
--- @return Module[] modules
--- @return string[] problems
function M.all()
  local modules, problems = {}, {}
  for _, file in ipairs(stdlib.files()) do
    local inner = file:match("^cli/") or file:match("^deploy/planned/") and file ~= "deploy/planned/facts.lua"
    if file:match("^[%w_/]+%.lua$") and not inner then
      local name = file:gsub("%.lua$", ""):gsub("/", ".")
      local module, wrong = M.read(stdlib.source(file), name, file)
      modules[#modules + 1] = module
      for _, problem in ipairs(wrong) do problems[#problems + 1] = problem end
    end
  end
  return modules, problems
end

--- How a function is called: `Host:exec(command, given?)`, `deploy.fail(message, hint?)`.
--- @param entry Entry
--- @return string
function M.spelled(entry)
  if entry.kind == "class" then return entry.name end
  local owner = entry.owner == "M" and entry.module or entry.owner
  local name = ("%s%s%s"):format(owner, entry.colon and ":" or ".", entry.name)
  if entry.kind ~= "function" then return name end
  local params = {}
  for index, param in ipairs(entry.params) do params[index] = param.name .. (param.optional and "?" or "") end
  return ("%s(%s)"):format(name, table.concat(params, ", "))
end

--- The names of types in a type: `Host`, `string`, of `table<string, Host[]>?`; keys of tables and names of parameters
--- are not among them.
--- @param kind string
--- @return string[]
function M.type_names(kind)
  local names = {}
  local plain = kind:gsub('"[^"]*"', " ")
  for before, name, after in plain:gmatch("()([%a_][%w_.]*)()") do
    local rest = plain:sub(after):gsub("^%?", "")
    local is_key = rest:match("^%s*:") and plain:sub(1, before - 1):match("[%({,]%s*$")
    if not is_key and name ~= "fun" then names[#names + 1] = name end
  end
  return names
end

return M
