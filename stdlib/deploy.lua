--- What a recipe requires: `local deploy = require "deploy"`. The words of the language; the knowledge is in
--- deploy/ and proxy/ (docs/recipes.md).

local command = require "deploy.command"
local door = require "native.door"
local fail = require "native.fail"
local text = require "native.text"

local M = {}

local registry = command.registry()

--- Declares a command of this recipe.
---
---     deploy.command "deploy" { help = "Ship a version", params = { version = {} }, run = function(run) … end }
---
--- @param name string
--- @return fun(declaration: table)
function M.command(name)
  if type(name) ~= "string" then fail.usage("deploy.command: expected a name, got a " .. type(name)) end
  return function(declaration) command.declare(registry, name, declaration) end
end

--- A grammar of the recipe's own, in place of `COMMAND --param value`.
--- @class CommandLine
--- @field read fun(words: string[]): string, table  a command's name and its parameters; may wait
--- @field help fun(words: string[]): string
--- @field plan_word? string  as the first word it means --plan

--- Reads the words of the command line as the recipe says; `-h` is among them.
--- @param line CommandLine
function M.command_line(line) registry.line = line end

--- For deploy/main.lua.
function M._registry() return registry end

--- For deploy/rehearsal.lua: what is declared from now on stands alone.
function M._new_registry()
  registry = command.registry()
  return registry
end

--- Stops with an error of the recipe's own.
--- @param message string
--- @param hint? string  what to do next
function M.fail(message, hint)
  fail.raise("recipe.failed", message, { hint = hint })
end

--- Milliseconds of "10m", "500ms".
--- @param duration string
--- @return number
M.milliseconds = text.parse_duration

--- Waits: "500ms", "10s".
--- @async
--- @param duration string
function M.sleep(duration)
  door.sleep(text.parse_duration(duration), duration)
end

--- Whether this is a plan (`--plan`): for what a recipe does besides reading and changing hosts.
--- @return boolean
function M.planning() return door.memory("local") ~= nil end

-- Read when a recipe asks for it: most invocations need little of it, and all of them wait for what is read.
local LATER = {
  git = function() return require "native.git" end,
  host = function() return require("deploy.host").host end,
  hosts = function() return require("deploy.host").hosts end,
  localhost = function() return require("deploy.host").localhost end,
  app = function() return require("deploy.app").app end,
  compose = function() return require("compose.app").app end,
  migrate = function() return require("deploy.migrate").new end,
  restore = function() return require("deploy.restore").new end,
  harden = function() return require("deploy.harden").new end,
  lock = function() return require("deploy.lock").lock end,
  build = function() return require("deploy.build").build end,
  secrets = function() return require "deploy.secrets" end,
  backup = function() return require("deploy.backup").new end,
  sqlite = function() return require "native.sqlite" end,
  notify = function() return require("deploy.notify").notify end,
  checks = function() return require("deploy.checks").new end,
  doctor = function() return require("doctor").new end,
  observe = function() return require("deploy.observe").start end,
  proxy = function()
    return {
      kamal_proxy = require("proxy.kamal_proxy").new,
      caddy = require("proxy.caddy").new,
      nginx = require("proxy.nginx").new,
      haproxy = require("proxy.haproxy").new,
      traefik = require("proxy.traefik").new,
    }
  end,
}

M._later = LATER

return setmetatable(M, {
  __index = function(_, name)
    if not LATER[name] then return nil end
    M[name] = LATER[name]()
    return M[name]
  end,
})
