--- The prompt's parts: what a line is, what is shown of its value, what the tab key offers.

local repl = require "cli.repl"
local report = require "native.report"
local test = require "test"

--- What a prompt says to those lines.
local function typed(lines, env)
  local said, text, emit = {}, report.text, report.emit
  report.text = function(words) said[#said + 1] = words end
  report.emit = function(event) said[#said + 1] = event.error.kind .. ": " .. event.error.message end
  local index = 0
  local ok, problem = pcall(repl.loop, function()
    index = index + 1
    return lines[index]
  end, env or repl.environment())
  report.text, report.emit = text, emit
  if not ok then error(problem, 0) end
  return said, problem
end

test.it("expressions are shown, statements run, names stay", function()
  test.equal(typed { "1 + 1", "x = { 1, 'a', b = { c = true } }", "x", "local y = 2", "_", "nil, 2" },
    { "2", '{ 1, "a", b = { c = true } }', "nil", "nil\t2" })
end)

test.it("an unfinished statement goes on in the next line", function()
  local said, ok = typed { "for i = 1, 2 do", "print(i)", "end", "(1", "+ 1)" }
  test.equal(said, { "1", "2", "2" })
  test.equal(ok, true)
  said, ok = typed { "for i = 1, 2 do" }
  test.equal({ said, ok }, { { "recipe.syntax: the input ends inside a statement" }, false })
end)

test.it("what waits may be called, and a failure ends nothing", function()
  local said, ok = typed { 'deploy.sleep("1ms")', "deploy.fail('no luck')", "nonsense.x", "2" }
  test.equal(said[1], "recipe.failed: no luck")
  test.equal(said[2]:match("^recipe.global") ~= nil, true)
  test.equal({ said[3], ok }, { "2", false })
end)

test.it("completes names, fields and methods without looking behind them", function()
  local env = repl.environment()
  env.shop = setmetatable({ hosts = {}, _own = 1 }, { __index = { look = print, logs = print } })
  test.equal(repl.complete("sho", env), { "shop" })
  test.equal(repl.complete("shop.", env), { "shop.hosts", "shop.logs", "shop.look" })
  test.equal(repl.complete("shop:lo", env), { "shop:logs", "shop:look" })
  test.equal(repl.complete("deploy.ap", env), { "deploy.app" })
  test.equal(repl.complete("string.for", env), { "string.format" })
  test.equal(repl.complete("nothing.at", env), {})
end)
