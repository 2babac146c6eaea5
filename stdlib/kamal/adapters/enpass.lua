--- Enpass, by its program `enpass-cli` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local append, failed, groups = tools.append, tools.failed, tools.groups
local must, need, parse = tools.must, tools.need, tools.parse

--- @type SecretsAdapter
local enpass = {}

function enpass.check(call) need(call, { "enpass-cli", "version" }, "Enpass CLI") end
function enpass.login() end

function enpass.fetch(call, names)
  if not call.from then failed("Missing required option '--from'") end
  local titles, wanted = groups(), {}
  for _, name in ipairs(names) do
    titles.add(name:match("^(.+)/[^/]*$") or name)
    wanted[name] = true
  end
  local printed = must(call, append({ "enpass-cli", "-json", "-vault", call.from, "show" }, unpack(titles.keys)),
    ("Could not read %s from Enpass"):format(table.concat(names, ", ")))
  local results = {}
  for _, item in ipairs(parse(printed, "enpass-cli")) do
    if item.title and (item.password or "") ~= "" then
      local key = (item.label or "") ~= "" and item.title .. "/" .. item.label or item.title
      if wanted[item.title] or wanted[key] then
        if results[key] then failed(key .. " is present more than once") end
        results[key] = item.password
      end
    end
  end
  return results
end

return enpass
