--- Doppler, by its program `doppler` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local append, failed, must, need = tools.append, tools.failed, tools.must, tools.need
local parse, prefixed, run = tools.parse, tools.prefixed, tools.run

--- @type SecretsAdapter
local doppler = {}

function doppler.check(call) need(call, { "doppler", "--version" }, "Doppler CLI") end

function doppler.login(call)
  if run(call, { "doppler", "me", "--json" }).ok then return end
  must(call, { "doppler", "login", "-y" }, "Failed to login to Doppler")
end

function doppler.fetch(call, names)
  local wanted = prefixed(names, call.from)
  local argv = { "doppler", "secrets", "get" }
  for _, name in ipairs(wanted) do argv[#argv + 1] = name:match("([^/]*)$") end
  argv[#argv + 1] = "--json"
  if (call.env("DOPPLER_TOKEN") or ""):sub(1, 5) ~= "dp.st" then
    local project, config = (wanted[1] or ""):match("^([^/]+)/([^/]+)")
    if not project then failed("Missing project or config from '--from=project/config' option") end
    append(argv, "-p", project, "-c", config)
  end
  local results = {}
  local printed = must(call, argv, ("Could not read %s from Doppler"):format(table.concat(wanted, ", ")))
  for name, one in pairs(parse(printed, "doppler")) do results[name] = one.computed end
  return results
end

return doppler
