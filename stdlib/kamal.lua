--- Kamal's commands for a recipe: `require("kamal").declare()` gives it all of them with Kamal's own command line, so
--- that `deployrun recipes/kamal.lua COMMAND …` does what `kamal COMMAND …` does for the same project (docs/kamal.md).

local commands = require "kamal.commands"
local configured = require "kamal.configured"
local deploy = require "deploy"
local fail = require "native.fail"
local grammar = require "kamal.grammar"
local offline = require "kamal.offline"
local shell_words = require "kamal.shell_words"
local text = require "native.text"

local M = {}

local READ = "config_file"  -- what aliases need to know of the command line before it is read
local MOST_ALIASES = 10

--- What of the words says which configuration is meant.
local function place_of(words)
  local out = { config_file = "config/deploy.yml" }
  for index, word in ipairs(words) do
    local name, value = word:match("^%-%-([%w_-]+)=(.*)$")
    name = (name or word:match("^%-%-([%w_-]+)$") or word):gsub("-", "_")
    value = value or words[index + 1]
    if name == READ or word == "-c" then out.config_file = value end
    if name == "destination" or word == "-d" then out.destination = value end
  end
  return out
end

--- The words that an alias stands for, the others behind them.
local function resolve(name, rest)
  local place = place_of(rest)
  local ok, root = pcall(require("kamal.configuration").read, { config_file = place.config_file,
    destination = place.destination, environment = require("kamal.environment").new() })
  local aliases = ok and root:get("aliases")
  local found = aliases and aliases:get(name)
  if not found or found.kind ~= "scalar" then
    local names = {}
    for _, command in ipairs(commands.LIST) do names[#names + 1] = command.name:match("^%S+") end
    for _, alias in ipairs(aliases and aliases.keys or {}) do names[#names + 1] = alias end
    fail.usage(("Could not find command %q."):format(name), { hint = text.nearest_hint(name, names), token = name })
  end
  local words = shell_words.split(found.text)
  for _, word in ipairs(rest) do words[#words + 1] = word end
  return words
end

--- Which function runs a command; `app stale_containers` looks or acts. Modules are loaded when needed: scripts
--- ask for `version` and `config`, and wait for them.
local function body_of(name, options)
  if configured[name] then return configured[name] end
  local acts = require("kamal.acting")[name]
  local looks = not (acts and options.stop) and require("kamal.showing")[name]
  return looks or acts
end

local function help_of(words)
  local of = words[1] and words[1]:sub(1, 1) ~= "-" and table.concat(words, " "):match("^[%w_ ]+") or nil
  of = of and of:gsub("%s+$", "")
  local lines = { of and "Commands of kamal " .. of .. ":" or "Commands:", "" }
  for _, command in ipairs(commands.LIST) do
    local fits = not of or command.name == of or command.name:sub(1, #of + 1) == of .. " "
    if fits and (not command.hidden or command.name == of) then
      lines[#lines + 1] = ("  %-44s %s"):format(command.name .. (command.words and " " .. command.words or ""),
        command.help)
      for _, option in ipairs(command.name == of and command.options or {}) do
        if not option.hidden then
          local flags = (option.letter and "-" .. option.letter .. ", " or "") .. "--" .. option.name:gsub("_", "-")
          lines[#lines + 1] = ("      %-40s %s"):format(flags, option.help or "")
        end
      end
    end
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Every command takes:"
  for _, option in ipairs(commands.GLOBAL) do
    lines[#lines + 1] = ("  %-44s %s"):format((option.letter and "-" .. option.letter .. ", " or "") .. "--" ..
      option.name:gsub("_", "-"), option.help)
  end
  return table.concat(lines, "\n")
end

--- Whether a command does something here.
--- @param name string
--- @return boolean
function M.is_there(name)
  return offline[name] ~= nil or name == "plan" or body_of(name, {}) ~= nil
end

local function declare_command(command)
  local name = command.name
  local function reads()
    return offline[name] ~= nil or configured[name] ~= nil or require("kamal.acting")[name] == nil
  end
  local function run(context)
    local options, arguments = context.params.options, context.params.arguments
    if offline[name] then return offline[name] { options = options, arguments = arguments } end
    local opened = require("kamal.project").open(name, options, arguments)
    if not reads() then require("kamal.output").declare(opened) end
    body_of(name, options)(opened, context)
  end
  deploy.command(name) { help = command.help, reads = reads, run = run }
end

local function read(words)
  for _ = 1, MOST_ALIASES do
    local chosen = grammar.choose(commands.LIST, words)
    if chosen.command and chosen.command.name == "plan" then
      fail.usage("plan comes first: plan COMMAND …")
    elseif chosen.command then
      local parsed = grammar.parse(chosen.command, chosen.rest, commands.GLOBAL)
      return chosen.command.name, { options = parsed.options, arguments = parsed.arguments }
    elseif chosen.help then
      return "help", { of = chosen.help ~= true and chosen.help or nil }
    end
    words = resolve(chosen.alias, chosen.rest)
  end
  fail.usage("aliases that lead to aliases without end")
end

--- Declares every command of Kamal for the recipe that is being read, and Kamal's grammar.
function M.declare()
  for _, command in ipairs(commands.LIST) do
    if command.name ~= "plan" then declare_command(command) end
  end
  deploy.command "help" { help = "the commands", reads = true, run = function(context)
    print(help_of { context.params.of })
  end }
  deploy.command_line { read = read, help = help_of, plan_word = "plan" }
end

return M
