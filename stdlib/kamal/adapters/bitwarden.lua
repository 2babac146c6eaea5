--- Bitwarden, by its program `bw` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local failed, groups, must, need = tools.failed, tools.groups, tools.must, tools.need
local parse, prefixed, run = tools.parse, tools.prefixed, tools.run

--- @type SecretsAdapter
local bitwarden = { account = true }

function bitwarden.check(call) need(call, { "bw", "--version" }, "Bitwarden CLI") end

local function bw_status(call) return parse(run(call, { "bw", "status" }).stdout, "bw").status end

function bitwarden.login(call)
  local status = bw_status(call)
  if status == "unauthenticated" then
    run(call, { "bw", "login", call.account })
    status = bw_status(call)
  end
  if status == "locked" then
    local session = run(call, { "bw", "unlock", "--raw" }).stdout:gsub("%s+$", "")
    if session ~= "" then call.environment.BW_SESSION = session end
    status = bw_status(call)
  end
  if status ~= "unlocked" then failed("Failed to login to and unlock Bitwarden") end
  must(call, { "bw", "sync" }, "Failed to sync Bitwarden")
end

function bitwarden.fetch(call, names)
  local items, results = groups(), {}
  for _, name in ipairs(prefixed(names, call.from)) do
    local item, field = name:match("^([^/]*)/([^/]*)")
    items.add(item or name, field)
  end
  for _, name in ipairs(items.keys) do
    local printed = must(call, { "bw", "get", "item", name }, ("Could not read %s from Bitwarden"):format(name))
    local item = parse(printed, "bw")
    local fields, own = items.of[name], {}
    for _, field in ipairs(item.fields or {}) do own[field.name] = field.value end
    if #fields > 0 then
      for _, field in ipairs(fields) do
        if own[field] == nil then
          failed(("Could not find field %s in item %s in Bitwarden"):format(field, name))
        end
        results[name .. "/" .. field] = own[field]
      end
    elseif item.login and item.login.password then
      results[name] = item.login.password
    elseif next(own) then
      for field, value in pairs(own) do results[name .. "/" .. field] = value end
    else
      failed(("Item %s is not a login type item and no fields were specified"):format(name))
    end
  end
  return results
end

return bitwarden
