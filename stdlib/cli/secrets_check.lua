--- `deployrun secrets check FILE`: which secrets a recipe or an inventory asks for, which are there, and where they
--- are. Never shows a value.

local fail = require "native.fail"
local recipe = require "cli.recipe"
local report = require "native.report"
local secrets = require "deploy.secrets"

local M = {}

local NONE = "no secret is asked for when this file is read"

local function state_of(lookup)
  if lookup.error then return "unreadable" end
  return lookup.found and "there" or "missing"
end

local function line(lookup, width)
  local where = lookup.found or (lookup.error and lookup.error.message) or "not in any source, nor in the environment"
  return ("%-" .. width .. "s  %-10s  %s"):format(lookup.name, state_of(lookup), where)
end

--- Each name once, in the order of their names; one that was found somewhere and not elsewhere counts as not there.
local function by_name(lookups)
  local seen, out = {}, {}
  for _, lookup in ipairs(lookups) do
    local known = seen[lookup.name]
    if not known then
      seen[lookup.name] = lookup
      out[#out + 1] = lookup
    elseif known.found and not lookup.found then
      known.found, known.error = nil, lookup.error
    end
  end
  table.sort(out, function(a, b) return a.name < b.name end)
  return out
end

local function show(found, json)
  local width, bad = 4, 0
  for _, lookup in ipairs(found) do
    width = math.max(width, #lookup.name)
    if state_of(lookup) ~= "there" then bad = bad + 1 end
  end
  for _, lookup in ipairs(found) do
    if json then
      report.emit { type = "secret.checked", name = lookup.name, state = state_of(lookup), source = lookup.found,
        error = lookup.error }
    else
      report.text(line(lookup, width))
    end
  end
  if not json then
    local count = #found == 1 and "1 secret" or ("%d secrets"):format(#found)
    report.text(#found == 0 and NONE or bad == 0 and count .. ", all there"
      or ("%s, %d not there"):format(count, bad))
  end
  return bad
end

--- @async
--- @param request { words: string[], json: boolean }  words: a recipe or an inventory
--- @return integer exit_code
function M.main(request)
  local path, lookups = request.words[1], secrets._record()
  local err
  if path:match("%.lua$") then
    err = recipe.read(path).problems[1]
  else
    local ok, raised = pcall(function() require("deploy.app").app(path) end)
    err = not ok and fail.normal(raised) or nil
  end
  if err then
    report.emit { type = "error", error = err }
    return 2
  end
  return show(by_name(lookups), request.json) == 0 and 0 or 2
end

return M
