--- What `deployrun check` finds in a recipe, without a host.

local check = require "cli.check"
local static = require "deploy.check"
local files = require "native.files"
local process = require "native.process"
local test = require "test"

--- Problems of a recipe with that text, each as "line:column kind message".
local function found_in(source)
  local path = process.run({ "mktemp", "--suffix=.lua" }).stdout:gsub("%s+$", "")
  files.write(path, source)
  local problems = check.problems(path)
  files.remove(path)
  local out = {}
  for index, problem in ipairs(problems) do
    local at = (problem.where or ""):match(":(%d+:%d+)$") or "-"
    out[index] = ("%s %s %s"):format(at, problem.kind, problem.message)
  end
  return out
end

local function shown(source)
  local out = {}
  for index, problem in ipairs(static.problems("x.lua", source)) do
    out[index] = problem.where .. " " .. problem.message
  end
  return out
end

test.it("all at once, each with its place, sorted", function()
  local found = found_in [==[
local deploy = require "deploy"
deploy.command "deploy" {
  run = function(run)
    run:step("one", { retries = "2", timeout = "soon", run = function() return hots end })
    run:step("two", { roling = {}, run = function() total = 1 end })
  end,
}
]==]
  test.equal(#found, 5)
  test.contains(found[1], '4:33 usage step "one": option `retries` must be integer, got "2"')
  test.contains(found[2], '4:48 usage step "one": option `timeout` must be a duration')
  test.contains(found[3], "4:80 recipe.global use of undeclared global `hots`")
  test.contains(found[4], '5:23 usage step "two": unknown option `roling`')
  test.contains(found[5], "5:53 recipe.global assignment to undeclared global `total`")
end)

test.it("goes on behind an inventory that is not right and a declaration that is wrong", function()
  local found = found_in [==[
local deploy = require "deploy"
local app = deploy.app { service = "Shop", image = "a/b:1", hosts = { "h" } }
deploy.command "a" { parms = {}, run = function() app:anything() end }
deploy.command "b" { default = true, run = function() end }
deploy.command "c" { default = true, run = function() return misspelt end }
]==]
  local text = table.concat(found, "\n")
  test.contains(text, "`service`")
  test.contains(text, "names a tag")
  test.contains(text, "unknown option `parms`")
  test.contains(text, "`misspelt`")
  test.contains(text, "`b` and `c` are all the default")
end)

test.it("names every missing secret", function()
  local found = found_in [==[
local deploy = require "deploy"
deploy.app { service = "shop", image = "a/b", hosts = { "h" }, env = { secret = { "NOT_THERE_A", "NOT_THERE_B" } } }
deploy.command "a" { run = function() end }
]==]
  test.equal(#found, 2)
  test.contains(found[1] .. found[2], "NOT_THERE_A")
  test.contains(found[1] .. found[2], "NOT_THERE_B")
end)

test.it("a recipe that does not compile is one problem, with its place", function()
  local found = found_in "local deploy = ) require\n"
  test.equal(#found, 1)
  test.contains(found[1], "1:16 recipe.syntax")
end)

test.it("finds nothing in a recipe that is right", function()
  test.equal(found_in [==[
local deploy = require "deploy"
local function steps(run) run:step("x", { retries = 0, when = true, run = function() return tostring(1) end }) end
deploy.command "a" { run = function(run) steps(run) end }
]==], {})
end)

test.it("steps that never run", function()
  test.equal(shown 'run:step("a", { when = false, run = f })', { 'x.lua:1:10 step "a": never runs: when = false' })
  test.equal(shown 'local function f(run)\n  run:step("a", { run = g })\nend',
    { "x.lua:1:16 `f`: its steps never run: nothing calls it" })
  test.equal(shown 'run:step("a", { final = true, run = f })\nrun:step("b", { run = f })',
    { 'x.lua:2:10 step "b": comes after the final step "a"' })
  test.equal(shown 'do return end\nrun:step("b", { run = f })',
    { 'x.lua:2:10 step "b": never runs: what stands before it ends the function' })
  test.equal(shown 'local x = 1\nerror("no")\nrun:step("b", { run = f })',
    { 'x.lua:3:10 step "b": never runs: what stands before it ends the function' })
end)

test.it("steps that may run", function()
  test.equal(shown [==[
    if bad then error("no") end
    if bad then return end
    for _, x in ipairs(list) do
      if x then break end
    end
    local ok = pcall(function() error("x") end)
    if worse then deploy.fail("no") else run:step("c", { run = f }) end
    run:step("b", { run = f })
    if other then run:step("d", { final = true, run = f }) else run:step("e", { run = f }) end
  ]==], {})
end)
