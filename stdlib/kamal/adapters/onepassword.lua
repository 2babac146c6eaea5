--- 1Password, by its program `op` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local append, failed, groups, must, need = tools.append, tools.failed, tools.groups, tools.must, tools.need
local parse, prefixed, run, split = tools.parse, tools.prefixed, tools.run, tools.split
local without_prefix = tools.without_prefix

--- @type SecretsAdapter
local onepassword = { account = true }

function onepassword.check(call) need(call, { "op", "--version" }, "1Password CLI") end

function onepassword.login(call)
  if run(call, { "op", "account", "get", "--account", call.account }).ok then return nil end
  local session = must(call, { "op", "signin", "--account", call.account, "--force", "--raw" },
    "Failed to login to 1Password")
  session = session:gsub("%s+$", "")
  return session ~= "" and session or nil
end

local function op_item(call, session, vault, item, fields)
  local argv = { "op", "item", "get", item, "--vault", vault, "--format", "json", "--account", call.account }
  -- Its session goes by the environment: arguments can be seen by all.
  if session then call.environment["OP_SESSION_" .. call.account] = session end
  if fields then
    local labels = {}
    for index, field in ipairs(fields) do labels[index] = "label=" .. field end
    append(argv, "--fields", table.concat(labels, ","))
  end
  return parse(must(call, argv, ("Could not read %sfrom %s in the %s 1Password vault"):format(
    fields and table.concat(fields, ", ") .. " " or "", item, vault)), "op")
end

local function op_fields(results, fields)
  for _, field in ipairs(fields) do
    if field.reference then
      local name = without_prefix(field.reference, "op://"):gsub("/password$", "")
      results[name] = field.value
    end
  end
end

function onepassword.fetch(call, names, session)
  local results = {}
  if #names == 0 then
    if not call.from then failed("Missing required option '--from'") end
    local vault, item = without_prefix(call.from, "op://"):match("^([^/]+)/([^/]+)")
    if not vault then failed("--from is VAULT/ITEM where no secrets are named") end
    op_fields(results, op_item(call, session, vault, item).fields or {})
    return results
  end
  local items = groups()
  for _, name in ipairs(prefixed(names, call.from)) do
    local parts = split(without_prefix(name, "op://"), "/")
    local vault, item = table.remove(parts, 1), table.remove(parts, 1)
    if not item then failed(("`%s` is no VAULT/ITEM/FIELD"):format(name)) end
    items.add(vault .. "\0" .. item, #parts > 0 and table.concat(parts, ".") or "password")
  end
  for _, key in ipairs(items.keys) do
    local vault, item = key:match("^(%Z*)%z(.*)$")
    local fields = op_item(call, session, vault, item, items.of[key])
    op_fields(results, #items.of[key] == 1 and fields.reference and { fields } or fields)
  end
  return results
end

return onepassword
