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

M.git = require "native.git"
M.host = require("deploy.host").host
M.hosts = require("deploy.host").hosts
M.localhost = require("deploy.host").localhost
M.app = require("deploy.app").app
M.secrets = require "deploy.secrets"
M.sqlite = require "native.sqlite"
M.observe = require("deploy.observe").start
M.proxy = {}
for name, kind in pairs(require("proxy.kinds").all) do M.proxy[name] = require(kind.module).new end

return M
