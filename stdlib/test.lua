--- Specs: `deployrun test FILE|FOLDER` runs each `*_test.lua` in a fresh VM.
---
---     local test = require "test"
---     test.it("adds", function() test.equal(1 + 1, 2) end)

local fail = require "native.fail"
local json = require "native.json"
local report = require "native.report"
local task = require "native.task"

local M = {}

local specs = {}

--- Declares a spec. Its body may wait.
--- @param name string
--- @param body fun()
function M.it(name, body)
  if type(name) ~= "string" or type(body) ~= "function" then fail.usage("test.it: expected a name and a function") end
  specs[#specs + 1] = { name = name, body = body }
end

local function shown(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local ok, encoded = pcall(json.encode, value)
  return ok and encoded or tostring(value)
end

local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

--- Raises unless both are equal; tables are compared by their contents.
--- @param actual any
--- @param expected any
function M.equal(actual, expected)
  if same(actual, expected) then return end
  error(("expected %s, got %s"):format(shown(expected), shown(actual)), 2)
end

--- Raises unless the value is neither nil nor false.
--- @param value any
--- @param message? string
function M.ok(value, message)
  if not value then error(message or ("expected something true, got " .. tostring(value)), 2) end
end

--- Raises unless the text contains `part` literally.
--- @param text string
--- @param part string
function M.contains(text, part)
  if not tostring(text):find(part, 1, true) then error(("%q does not contain %q"):format(tostring(text), part), 2) end
end

--- Runs `fn`, which must raise an error of that kind; returns it.
--- @param kind string
--- @param fn fun()
--- @return table error
function M.raises(kind, fn)
  local ok, err = pcall(fn)
  if ok then error(("expected %s, but nothing was raised"):format(kind), 2) end
  err = fail.normal(err)
  if err.kind ~= kind then error(("expected %s, got %s: %s"):format(kind, err.kind, err.message), 2) end
  return err
end

--- A recipe, to be executed against facts instead of hosts (docs/recipes.md, Specs).
--- @async
--- @param given { recipe: string, hosts?: table<string, HostFacts>, secrets?: table<string, string> }
--- @return table rehearsal
function M.rehearse(given) return require("deploy.rehearsal").new(given) end

--- The facts of hosts as `deployrun RECIPE --plan --record FILE` wrote them, for `rehearse`.
--- @async
--- @param path string
--- @return table<string, HostFacts> hosts
function M.recorded(path)
  return json.decode(require("native.files").read(path), { source = path }).hosts
end

--- Runs a file's specs, one after another. For the command line.
--- @async
--- @param chunk fun()   the file, compiled
--- @param path string
--- @return { passed: integer, failed: integer }  a file without a spec has failed once
function M.main(chunk, path)
  local began, failed = task.now(), 0
  local loaded, err = pcall(chunk)
  if not loaded then
    report.text(("%s: %s\n"):format(path, fail.normal(err).message))
    return { passed = 0, failed = 1 }
  end
  for _, spec in ipairs(specs) do
    local ok, problem = pcall(spec.body)
    if not ok then
      failed = failed + 1
      report.text(("%s: %s: FAILED\n  %s\n"):format(path, spec.name, fail.normal(problem).message))
    end
  end
  report.text(("%s: %d specs, %d failed, %d ms\n"):format(path, #specs, failed, task.now() - began))
  return { passed = #specs - failed, failed = #specs == 0 and 1 or failed }
end

return M
