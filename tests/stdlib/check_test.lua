--- What is found in a recipe's text before it runs.

local check = require "deploy.check"
local test = require "test"

local function refused(source)
  local ok, err = pcall(check.recipe, "recipes/x.lua", source)
  test.equal(ok, false)
  return err
end

test.it("names the place of an unknown option and the nearest one", function()
  local err = refused('run:step("switch", {\n  on = hosts,\n  roling = { first = 1 },\n  run = f,\n})\n')
  test.equal(err.kind, "usage")
  test.equal(err.where, "recipes/x.lua:3:3")
  test.equal(err.message, 'step "switch": unknown option `roling`')
  test.equal(err.hint:find("rolling", 1, true) ~= nil, true)
end)

test.it("looks into rolling", function()
  local err = refused('run:step("switch", { rolling = { frist = 1 }, run = f })')
  test.equal(err.where, "recipes/x.lua:1:34")
end)

test.it("takes no name inside a function, a string or a comment for an option", function()
  check.recipe("recipes/x.lua", [==[
    run:step("a step, { with = 1 }", { -- one, two = 3
      on = hosts, --[[ three = 3, ]] when = function(host)
        local a, b = 1, 2
        for i, name in ipairs(list) do if i == name then c = { d = 1, e = 2 } end end
        repeat a, b = b, a until a
        return { f = 1, g = [[
          , h = 1 ]], i = '}' }
      end,
      ["on_failure"] = "finish"; retries = 0x2, timeout = "1m\", j = 1",
      run = function(host) return host end })
    local other = { roling = 1 }
    run:step(name, options)
  ]==])
end)

test.it("knows every option of a step", function()
  check.recipe("recipes/x.lua", 'run:step("x", { on = a, parallel = 1, rolling = { first = 1, limit = "25%", ' ..
    'wait = "1s" }, retries = 1, timeout = "1s", when = true, on_failure = "finish", reads = true, ' ..
    'run = f, undo = g })')
end)
