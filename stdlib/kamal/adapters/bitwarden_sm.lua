--- Bitwarden Secrets Manager, by its program `bws` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local failed, must, need = tools.failed, tools.must, tools.need
local parse, prefixed, run = tools.parse, tools.prefixed, tools.run

--- @type SecretsAdapter
local bws = {}

function bws.check(call) need(call, { "bws", "--version" }, "Bitwarden Secrets Manager CLI") end

function bws.login(call)
  if not run(call, { "bws", "project", "list" }).ok then
    failed("Could not authenticate to Bitwarden Secrets Manager. Did you set a valid access token?")
  end
end

local function bws_list(call, project)
  local argv = { "bws", "secret", "list" }
  if project then argv[#argv + 1] = project end
  local results = {}
  for _, one in ipairs(parse(must(call, argv, "Could not read secrets from Bitwarden Secrets Manager"), "bws")) do
    results[one.key] = one.value
  end
  return results
end

function bws.fetch(call, names)
  local wanted, results = prefixed(names, call.from), {}
  if #wanted == 0 then failed("You must specify what to retrieve from Bitwarden Secrets Manager") end
  if #wanted == 1 and wanted[1] == "all" then return bws_list(call) end
  local project = #wanted == 1 and wanted[1]:match("^(.+)/all$")
  if project then return bws_list(call, project) end
  for _, uuid in ipairs(wanted) do
    local one = parse(must(call, { "bws", "secret", "get", uuid },
      ("Could not read %s from Bitwarden Secrets Manager"):format(uuid)), "bws")
    results[one.key] = one.value
  end
  return results
end

return bws
