--- LastPass, by its program `lpass` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local append, failed, must, need = tools.append, tools.failed, tools.must, tools.need
local parse, prefixed, run = tools.parse, tools.prefixed, tools.run

--- @type SecretsAdapter
local lastpass = { account = true }

function lastpass.check(call) need(call, { "lpass", "--version" }, "LastPass CLI") end

function lastpass.login(call)
  local status = run(call, { "lpass", "status", "--color", "never" }).stdout:match("^%s*(.-)%s*$")
  if status ~= ("Logged in as %s."):format(call.account) then
    must(call, { "lpass", "login", call.account }, "Failed to login to LastPass")
  end
end

function lastpass.fetch(call, names)
  local wanted, results = prefixed(names, call.from), {}
  local printed = must(call, append(append({ "lpass", "show" }, unpack(wanted)), "--json"),
    ("Could not read %s from LastPass"):format(table.concat(wanted, ", ")))
  for _, item in ipairs(parse(printed, "lpass")) do results[item.fullname] = item.password end
  local missing = {}
  for _, name in ipairs(wanted) do
    if results[name] == nil then missing[#missing + 1] = name end
  end
  if #missing > 0 then failed(("Could not find %s in LastPass"):format(table.concat(missing, ", "))) end
  return results
end

return lastpass
