--- Commands of a recipe and their typed parameters: declaring them, reading them from a command line.

local fail = require "native.fail"
local options = require "deploy.options"
local text = require "native.text"

local M = {}

--- @class Param
--- @field type? "string"|"integer"|"number"|"boolean"|"duration"
--- @field default? any|fun(): any   a function is called when the parameter was not given
--- @field help? string
--- @field required? boolean
--- @field positional? boolean       may be given without its name, in the order of `position`
--- @field rest? boolean             takes all remaining words, as a list
--- @field choices? string[]

--- @class Command
--- @field name string
--- @field help string
--- @field default? boolean    runs when no command is named
--- @field reads? boolean      changes nothing through steps: not journaled, allowed beside an unfinished run
--- @field params table<string, Param>
--- @field run fun(run: Run)

local COMMAND = {
  help = { "string" }, default = { "boolean" }, reads = { "boolean|function" }, params = { "table" },
  run = { "function", required = true },
}
local PARAM = {
  type = { "string" }, default = { "any" }, help = { "string" }, required = { "boolean" }, positional = { "boolean" },
  rest = { "boolean" }, choices = { "table" },
}
local TYPE_NAMES = { "string", "integer", "number", "boolean", "duration" }
local TYPES = {}
for _, name in ipairs(TYPE_NAMES) do TYPES[name] = true end

-- What deployrun itself takes behind a recipe's name (runtime/cli/table.cpp): it would never reach the command.
local OWN = {}
for _, name in ipairs { "abort", "color", "exit_code", "force", "help", "json", "lock_wait", "plan", "progress",
  "project", "quiet", "record", "report", "resume", "stdlib", "unsafe", "verbose" } do
  OWN[name] = true
end

--- The commands of the recipe that is being read, by name and in order.
--- @class Registry
--- @field line? CommandLine  a grammar of the recipe's own
--- @field list Command[]
--- @field by_name table<string, Command>

--- @return Registry
function M.registry()
  return { list = {}, by_name = {} }
end

local function check_params(params, what)
  for name, param in pairs(params) do
    local where = ("%s, parameter `%s`"):format(what, tostring(name))
    if type(name) ~= "string" or not name:match("^[a-z][a-z0-9_]*$") then
      fail.usage(where .. ": names are lower case letters, digits and _")
    end
    if OWN[name] then
      fail.usage(("%s: --%s is deployrun's own"):format(where, (name:gsub("_", "-"))),
        { hint = "call it something else", token = name })
    end
    options.check(param, PARAM, where)
    if param.type and not TYPES[param.type] then
      fail.usage(("%s: unknown type `%s`"):format(where, param.type),
        { hint = text.nearest_hint(param.type, TYPE_NAMES), token = param.type })
    end
  end
end

--- Adds a command; raises `usage` for a second one of the same name or wrong options.
--- @param registry Registry
--- @param name string
--- @param declaration table
function M.declare(registry, name, declaration)
  local what = ("deploy.command %q"):format(name)
  for word in (name .. " "):gmatch("(.-) ") do
    if not word:match("^[a-z][a-z0-9_-]*$") then
      fail.usage(what .. ": names are lower case letters, digits, - and _, in words with one blank between")
    end
  end
  if registry.by_name[name] then fail.usage(what .. ": declared twice") end
  options.check(declaration, COMMAND, what)
  check_params(declaration.params or {}, what)
  local command = {
    name = name, help = declaration.help or "", default = declaration.default, reads = declaration.reads,
    params = declaration.params or {}, run = declaration.run,
  }
  registry.list[#registry.list + 1] = command
  registry.by_name[name] = command
end

--- The command that `word` names; without a word the default one (or the only one).
--- @param registry Registry
--- @param word string?
--- @return Command
function M.choose(registry, word)
  if #registry.list == 0 then
    fail.usage("the recipe declares no command",
      { hint = "declare one: deploy.command \"deploy\" { run = function(run) … end }" })
  end
  if word == nil then
    if #registry.list == 1 then return registry.list[1] end
    for _, command in ipairs(registry.list) do
      if command.default then return command end
    end
  end
  local names = {}
  for _, command in ipairs(registry.list) do names[#names + 1] = command.name end
  if word == nil then
    fail.usage("no command named, and none is the default", { hint = "one of: " .. table.concat(names, ", ") })
  end
  local command = registry.by_name[word]
  if not command then
    fail.usage(("unknown command `%s`"):format(word), { hint = text.nearest_hint(word, names) })
  end
  return command
end

local function convert(name, param, value)
  local kind = param.type or "string"
  if kind == "string" then
    for _, choice in ipairs(param.choices or {}) do
      if choice == value then return value end
    end
    if param.choices then
      fail.usage(("--%s: `%s` is none of %s"):format(name, value, table.concat(param.choices, ", ")),
        { hint = text.nearest_hint(value, param.choices) })
    end
    return value
  end
  if kind == "boolean" then
    if value == true or value == "true" or value == "yes" then return true end
    if value == false or value == "false" or value == "no" then return false end
  elseif kind == "duration" then
    if pcall(text.parse_duration, value) then return value end
  else
    local number = tonumber(value)
    if number and (kind == "number" or number == math.floor(number)) then return number end
  end
  local wanted = { boolean = "true or false", integer = "a whole number", number = "a number",
    duration = "a duration such as 30s or 10m" }
  fail.usage(("--%s: expected %s, got `%s`"):format(name, wanted[kind], tostring(value)))
end

local function spelled(name) return (name:gsub("_", "-")) end

local function names_of(command, extra)
  local names = {}
  for name in pairs(command.params) do names[#names + 1] = spelled(name) end
  for name in pairs(extra or {}) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- A command's parameters as they are typed, sorted: "dry-run".
--- @param command Command
--- @return string[]
function M.parameter_names(command) return names_of(command) end

local function positionals(command)
  local list, rest = {}, nil
  for name, param in pairs(command.params) do
    if param.rest then rest = name elseif param.positional then list[#list + 1] = name end
  end
  table.sort(list)
  return list, rest
end

--- Reads `--name value`, `--name=value`, `--flag`, `--no-flag`, positional words and what follows `--`.
--- @param command Command
--- @param words string[]
--- @return table params
function M.parse(command, words)
  local params, list, rest = {}, positionals(command)
  local index, position = 1, 1
  local function take_rest(from)
    params[rest] = {}
    for i = from, #words do table.insert(params[rest], words[i]) end
    return #words + 1
  end
  while index <= #words do
    local word = words[index]
    index = index + 1
    local name, value = word:match("^%-%-([^=]+)=(.*)$")
    name = name or word:match("^%-%-(.+)$")
    if word == "--" and rest then
      index = take_rest(index)
    elseif name then
      local key, negated = name:gsub("-", "_"), false
      local param = command.params[key]
      if not param and key:match("^no_") and (command.params[key:sub(4)] or {}).type == "boolean" then
        key, param, negated = key:sub(4), command.params[key:sub(4)], true
      end
      if not param then
        fail.usage(("%s: unknown parameter `--%s`"):format(command.name, name),
          { hint = text.nearest_hint(name, names_of(command)) })
      end
      if value == nil then
        if param.type == "boolean" then
          value = not negated
        else
          value = words[index]
          if value == nil then fail.usage(("--%s: a value is missing"):format(name)) end
          index = index + 1
        end
      end
      params[key] = convert(name, param, value)
    elseif list[position] then
      params[list[position]] = convert(list[position], command.params[list[position]], word)
      position = position + 1
    elseif rest then
      index = take_rest(index - 1)
    else
      fail.usage(("%s: unexpected `%s`"):format(command.name, word), { hint = "parameters are given as --name value" })
    end
  end
  return params
end

--- Fills in what was not given. Defaults that are functions may wait.
--- @async
--- @param command Command
--- @param params table
function M.complete(command, params)
  local names = names_of(command)
  for _, name in ipairs(names) do
    local key = name:gsub("-", "_")
    local param = command.params[key]
    if params[key] == nil then
      local default = param.default
      if type(default) == "function" then default = default() end
      if default == nil and param.required then
        fail.usage(("%s: `--%s` is required"):format(command.name, name), { hint = param.help })
      end
      params[key] = default
    end
  end
end

--- The help text of a recipe.
--- @param registry Registry
--- @param recipe string
--- @return string
function M.help(registry, recipe)
  local lines = { "Commands of " .. recipe .. ":", "" }
  for _, command in ipairs(registry.list) do
    lines[#lines + 1] = ("  %-12s %s%s"):format(command.name, command.help, command.default and " (default)" or "")
    for _, name in ipairs(names_of(command)) do
      local param = command.params[name:gsub("-", "_")]
      local flag = param.positional and "[--" .. name .. "] " or "--" .. name .. " "
      local left = param.rest and name:upper() .. " …"
        or flag .. (param.type == "boolean" and "" or (param.type or "text"):upper())
      lines[#lines + 1] = ("      %-24s %s"):format(left, param.help or "")
    end
  end
  return table.concat(lines, "\n")
end

return M
