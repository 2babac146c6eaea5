--- Commands and parameters as people type them.

local command = require "deploy.command"
local test = require "test"

local function declared()
  local registry = command.registry()
  command.declare(registry, "deploy", { help = "ship", default = true, run = function() end, params = {
    version = { positional = true }, wait = { type = "duration" }, dry_run = { type = "boolean" },
    count = { type = "integer" }, proxy = { choices = { "caddy", "kamal_proxy" } },
  } })
  command.declare(registry, "exec", { run = function() end, reads = true, params = { words = { rest = true } } })
  return registry
end

local function failure(fn, ...)
  local ok, err = pcall(fn, ...)
  test.equal(ok, false)
  return err
end

test.it("chooses the named or the default command", function()
  local registry = declared()
  test.equal(command.choose(registry, nil).name, "deploy")
  test.equal(command.choose(registry, "exec").name, "exec")
  test.equal(failure(command.choose, registry, "depoly").hint:find("deploy", 1, true) ~= nil, true)
end)

test.it("reads names with a value, with =, flags, their negation and positional words", function()
  local deploy = command.choose(declared(), "deploy")
  local params = command.parse(deploy, { "v2", "--wait=5s", "--dry-run", "--count", "3" })
  test.equal(params.version, "v2")
  test.equal(params.wait, "5s")
  test.equal(params.dry_run, true)
  test.equal(params.count, 3)
  test.equal(command.parse(deploy, { "--no-dry-run" }).dry_run, false)
end)

test.it("keeps the words of another program as they are", function()
  local exec = command.choose(declared(), "exec")
  test.equal(table.concat(command.parse(exec, { "--", "ls", "-l", "--all" }).words, " "), "ls -l --all")
  test.equal(table.concat(command.parse(exec, { "ls", "-l" }).words, " "), "ls -l")
end)

test.it("refuses what it does not know, with the nearest name", function()
  local deploy = command.choose(declared(), "deploy")
  test.equal(failure(command.parse, deploy, { "--verison", "v2" }).hint:find("version", 1, true) ~= nil, true)
  test.equal(failure(command.parse, deploy, { "--count", "many" }).message,
    "--count: expected a whole number, got `many`")
  test.equal(failure(command.parse, deploy, { "--wait", "5" }).kind, "usage")
  test.equal(failure(command.parse, deploy, { "--proxy", "cady" }).hint:find("caddy", 1, true) ~= nil, true)
  test.equal(failure(command.parse, deploy, { "--version" }).message, "--version: a value is missing")
  test.equal(failure(command.parse, deploy, { "a", "b" }).message, "deploy: unexpected `b`")
end)

test.it("a declaration's mistakes are named", function()
  local registry = command.registry()
  local err = failure(command.declare, registry, "x", { run = function() end, parms = {} })
  test.equal(err.kind, "usage")
  test.equal(err.hint:find("params", 1, true) ~= nil, true)
  err = failure(command.declare, registry, "x", { run = function() end, params = { version = { type = "strng" } } })
  test.equal(err.hint:find("string", 1, true) ~= nil, true)
end)

test.it("a parameter that deployrun itself would take is refused", function()
  for _, name in ipairs { "force", "lock_wait", "plan" } do
    local wrong = { run = function() end, params = { [name] = {} } }
    local err = failure(command.declare, command.registry(), "deploy", wrong)
    test.equal({ err.kind, err.token }, { "usage", name })
  end
end)
