--- A project's secrets: `.kamal/secrets-common`, then `.kamal/secrets` or `.kamal/secrets.<destination>`, read once,
--- when the first one is asked for. `$(kamal secrets …)` in them is run here, whether or not a kamal is installed.

local adapters = require "kamal.adapters"
local commands = require "kamal.commands"
local dotenv = require "kamal.dotenv"
local fail = require "native.fail"
local files = require "native.files"
local grammar = require "kamal.grammar"
local json = require "native.json"
local log = require "native.log"
local process = require "native.process"
local secret = require "native.secret"
local shell_words = require "kamal.shell_words"
local text = require "native.text"

local M = {}

local COMMAND_TIMEOUT = "300s"
-- Values of other secrets stand in the command: it travels by the environment, arguments can be seen by all.
local EVAL = [[c=$DEPLOYRUN_COMMAND; unset DEPLOYRUN_COMMAND; eval "$c"]]

--- @class KamalSecrets
local Secrets = {}
Secrets.__index = Secrets

--- Nothing is read yet.
--- @param given { path: string, destination?: string, environment: Environment }
--- @return KamalSecrets
function M.new(given)
  return setmetatable({ _path = given.path, _destination = given.destination, _environment = given.environment },
    Secrets)
end

--- The files that count, whether or not they are there.
--- @return string[]
function Secrets:filenames()
  local own = self._destination and self._path .. "." .. self._destination or self._path
  return { self._path .. "-common", own }
end

--- Which word of a command names kamal; nil: it is another program.
local function kamal_at(words)
  local at = 1
  if words[1] == "bundle" and words[2] == "exec" then at = 3 end
  local name = words[at] and words[at]:match("([^/]+)$")
  return name == "kamal" and words[at + 1] == "secrets" and at or nil
end

local function text_of(value) return type(value) == "string" and value or json.encode(value) end

--- `kamal secrets fetch` as text.
--- @async
--- @param parsed KamalWords
--- @param environment Environment
--- @return string json
function M.fetch(parsed, environment)
  local options = parsed.options
  local results = adapters.fetch(options.adapter, parsed.arguments, { account = options.account, from = options.from,
    env = function(name) return environment:get(name) end, environment = environment:changes() })
  local bytes = json.encode(results)
  return next(results) and bytes or "{}"
end

--- `kamal secrets extract`: the value of that key, else of the first that ends with it.
--- @param name string
--- @param bytes string
--- @return string
function M.extract(name, bytes)
  local ok, values = pcall(json.decode, bytes, { source = "kamal secrets extract" })
  if not ok or type(values) ~= "table" then
    fail.raise("kamal.secrets", "kamal secrets extract: its second word is no JSON object")
  end
  if values[name] ~= nil then return text_of(values[name]) end
  local keys = {}
  for key in pairs(values) do
    if type(key) == "string" and key:sub(-#name - 1) == "/" .. name then keys[#keys + 1] = key end
  end
  table.sort(keys)
  if #keys == 0 then fail.raise("kamal.secrets", ("Could not find secret %s"):format(name)) end
  if #keys > 1 then
    log.warn(("secret %s: %s all end with it; the first one counts"):format(name, table.concat(keys, ", ")))
  end
  return text_of(values[keys[1]])
end

--- Runs `secrets …` of a file. Returns what it gives, and whether that is escaped for a shell.
function Secrets:_inline(words)
  local chosen = grammar.choose(commands.LIST, words)
  local command = chosen.command
  if not command then fail.usage("kamal secrets: fetch, extract or print is expected") end
  local parsed = grammar.parse(command, chosen.rest, commands.GLOBAL)
  if command.name == "secrets fetch" then
    return shell_words.escape(M.fetch(parsed, self._environment)), true
  elseif command.name == "secrets extract" then
    return M.extract(parsed.arguments[1], parsed.arguments[2]), false
  end
  fail.usage(("`kamal %s` inside of a secrets file"):format(command.name))
end

--- What a command of a file prints. One that fails, or is not there, is an error: Kamal takes it for empty.
function Secrets:_run(file, command, line)
  local where = ("%s:%d"):format(file, line)
  local ok, words = pcall(shell_words.split, command)
  local at = ok and kamal_at(words)
  if at then
    local rest = {}
    for index = at + 1, #words do rest[#rest + 1] = words[index] end
    local done, printed, escaped = pcall(self._inline, self, rest)
    if done then return (printed:gsub("\r?\n$", "")), escaped end
    local err = fail.normal(printed)
    if err.kind ~= "kamal.secrets" and err.kind ~= "usage" then error(err, 0) end
    fail.raise("kamal.secrets", ("%s: %s"):format(where, err.message), { where = where, hint = err.hint, cause = err })
  end
  local env = { DEPLOYRUN_COMMAND = command }
  for name, value in pairs(self._environment:changes()) do env[name] = value end
  local result = process.run({ "sh", "-c", EVAL }, { check = false, env = env, timeout = COMMAND_TIMEOUT,
    reads = true })
  if result.code == 0 then return (result.stdout:gsub("\r?\n$", "")) end
  local said = text.clean(result.stderr:match("([^\r\n]+)%s*$") or "")
  local program = command:match("^%s*(%S+)") or "command"
  fail.raise("kamal.secrets", ("%s: `%s …` ended with exit code %d%s"):format(where, program, result.code,
    said ~= "" and ": " .. said or ""), { where = where, code = result.code,
    hint = "Kamal would take the secret for empty, without a word" })
end

--- Reads the files, once.
function Secrets:_load()
  if self._values then return end
  local found, values, names, where = {}, {}, {}, {}
  for _, file in ipairs(self:filenames()) do
    if files.exists(file) then
      found[#found + 1] = file
      local parsed = dotenv.parse(files.read(file), { file = file,
        env = function(name) return self._environment:get(name) end,
        run = function(command, line) return self:_run(file, command, line) end })
      for _, note in ipairs(parsed.notes) do log.warn(note) end
      for _, name in ipairs(parsed.names) do
        if values[name] == nil then names[#names + 1] = name end
        values[name], where[name] = parsed.values[name], ("%s:%d"):format(file, parsed.lines[name])
        if values[name] ~= "" then secret.value(name, values[name]) end  -- masked from here on
      end
    end
  end
  self._values, self._names, self._files, self._where = values, names, found, where
end

--- All names, in the files' order.
--- @async
--- @return string[]
function Secrets:names()
  self:_load()
  return self._names
end

--- Where a secret stands: "file:line".
--- @async
--- @param name string
--- @return string?
function Secrets:place(name)
  self:_load()
  return self._where[name]
end

--- Whether there is a value that is not empty.
--- @async
--- @param name string
--- @return boolean
function Secrets:has(name)
  self:_load()
  return (self._values[name] or "") ~= ""
end

--- A secret's value, for what writes it where it belongs: an env file, a registry's credentials.
--- Raises `kamal.secrets` in Kamal's words.
--- @async
--- @param name string
--- @return string
function Secrets:value(name)
  self:_load()
  local value = self._values[name]
  if value ~= nil then return value end
  local message = #self._files > 0 and ("Secret '%s' not found in %s"):format(name, table.concat(self._files, ", "))
    or ("Secret '%s' not found, no secret files (%s) provided"):format(name, table.concat(self:filenames(), ", "))
  fail.raise("kamal.secrets", message, { name = name,
    hint = #self._names > 0 and text.nearest_hint(name, self._names) or nil })
end

--- @async
--- @param name string
--- @return Secret
function Secrets:get(name) return secret.value(name, self:value(name)) end

return M
