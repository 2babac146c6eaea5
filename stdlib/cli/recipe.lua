--- Reads a recipe without its project having to be right: what is wrong with the inventory, a secret or a declaration
--- is collected, and the recipe goes on with nothing in its place. For check, completion, repl and --help.

local command = require "deploy.command"
local fail = require "native.fail"
local files = require "native.files"

local M = {}

--- Stands for what could not be made: every field, call and method of it is itself again.
local nothing = setmetatable({}, {
  __index = function(self) return self end,
  __call = function(self) return self end,
  __concat = function() return "" end,
  __tostring = function() return "" end,
})

--- @class ReadRecipe
--- @field registry Registry
--- @field problems table[]  errors, in the order in which they were met
--- @field apps table[]      the apps that are right
--- @field source string
--- @field chunk? function   nil: it does not compile

local function add(problems, value)
  local err = fail.normal(value)
  for _, other in ipairs(err.also or {}) do problems[#problems + 1] = other end
  err.also = nil
  table.insert(problems, #problems + 1, err)
end

--- From here on a failure of these functions of `deploy` is a problem on the list instead of an error. Returns what
--- makes them as they were.
local function tolerate(deploy, found)
  local originals = {}
  local function wrap(holder, name, keep)
    local original = holder[name]
    originals[#originals + 1] = function() holder[name] = original end
    holder[name] = function(...)
      local ok, value = pcall(original, ...)
      if not ok then
        add(found.problems, value)
        return nothing
      end
      if keep then keep[#keep + 1] = value end
      return value
    end
  end
  wrap(deploy, "app", found.apps)
  wrap(deploy, "host")
  wrap(deploy, "hosts")
  wrap(command, "declare")
  local names = {}
  for name, value in pairs(deploy.secrets) do
    if type(value) == "function" and name:sub(1, 1) ~= "_" then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do wrap(deploy.secrets, name) end
  return function()
    for _, restore in ipairs(originals) do restore() end
  end
end

--- "x.lua:3: unexpected symbol near 'y'" as `recipe.syntax` with its column.
local function syntax_error(path, message)
  local line, what = message:match("^.-:(%d+): (.*)$")
  if not line then return fail.make("recipe.syntax", message) end
  local token = what:match("near '(.-)'$")
  local column = token and fail.column(path, tonumber(line), token)
  return fail.make("recipe.syntax", what,
    { where = column and ("%s:%s:%d"):format(path, line, column) or ("%s:%s"):format(path, line) })
end

--- @async
--- @param path string
--- @return ReadRecipe
function M.read(path)
  local deploy = require "deploy"
  local found = { registry = deploy._registry(), problems = {}, apps = {}, source = "" }
  local ok, source = pcall(files.read, path)
  if not ok then
    add(found.problems, fail.make("recipe.not_found", path .. ": cannot be read",
      { hint = "name a recipe file, for example recipes/prod.lua" }))
    return found
  end
  found.source = source
  local chunk, message = load(source, "@" .. path)
  if not chunk then
    add(found.problems, syntax_error(path, message))
    return found
  end
  found.chunk = chunk
  for name in pairs(found.registry.by_name) do found.registry.by_name[name] = nil end
  for index = #found.registry.list, 1, -1 do found.registry.list[index] = nil end
  local restore, said = tolerate(deploy, found), print
  rawset(_G, "print", function() end)  -- what a recipe says is not what was asked for
  local ran, err = pcall(chunk)
  rawset(_G, "print", said)
  restore()
  if not ran then add(found.problems, err) end
  return found
end

return M
