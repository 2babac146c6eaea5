--- Which releases a host keeps, which one a rollback goes back to, which ones are let go. Pure: looks in, answers out.

local container = require "deploy.container"
local fail = require "native.fail"

local M = {}

--- Newest first; those of one second as the engine listed them.
local function newest_first(a, b)
  if a.created ~= b.created then return a.created > b.created end
  return a.rank < b.rank
end

local function is_replaced(facts) return facts.name:find("_replaced_", 1, true) ~= nil end

--- @param look Look
--- @param role string
--- @return Facts[]  newest first, without those superseded under the same version
function M.releases(look, role)
  local out = {}
  for _, facts in pairs(look.containers) do
    if facts.role == role and facts.version and not is_replaced(facts) then out[#out + 1] = facts end
  end
  table.sort(out, newest_first)
  return out
end

--- What serves: the container behind the proxy; for a role without proxy the newest one that runs.
--- @param look Look
--- @param role RoleConfig
--- @return Facts?
function M.current(look, role)
  if role.proxied then
    local route = look.routes[role.name]
    for _, facts in pairs(route and look.containers or {}) do
      if facts.id:sub(1, #route.container) == route.container then return facts end
    end
    return nil
  end
  for _, facts in ipairs(M.releases(look, role.name)) do
    if facts.state == "running" then return facts end
  end
end

--- Versions older than the serving one that are still kept, newest first.
local function candidates(look, role)
  local current = M.current(look, role)
  local out = {}
  for _, facts in ipairs(M.releases(look, role.name)) do
    local older = not current or newest_first(current, facts)
    if older and not (current and facts.id == current.id) then out[#out + 1] = facts.version end
  end
  return out
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

--- The version to go back to: the wanted one, else the newest that is kept on every host and older than what serves.
--- Raises `app.no_release` when a host does not keep it; nothing has been changed then.
--- @param seen table<string, Look>  by host name
--- @param roles { host: string, role: RoleConfig }[]  every place that needs the release
--- @param wanted string?
--- @return string version
function M.rollback_target(seen, roles, wanted)
  local common
  for _, place in ipairs(roles) do
    local look, list = seen[place.host], {}
    if wanted then
      for _, facts in ipairs(M.releases(look, place.role.name)) do list[#list + 1] = facts.version end
    else
      list = candidates(look, place.role)
    end
    if wanted and not contains(list, wanted) then
      local message = ("%s keeps no container of version %s (role %s)"):format(place.host, wanted, place.role.name)
      local hint = #list > 0 and "it keeps " .. table.concat(list, ", ") or "it keeps none"
      fail.raise("app.no_release", message, { host = place.host, hint = hint })
    end
    if not common then
      common = list
    else
      local both = {}
      for _, version in ipairs(common) do
        if contains(list, version) then both[#both + 1] = version end
      end
      common = both
    end
  end
  if wanted then return wanted end
  if not common or #common == 0 then
    fail.raise("app.no_release", "no older release is kept on every host",
      { hint = "name one with --version, or deploy the version you want" })
  end
  return common[1]
end

--- What is there once a start has replaced what ran: those it replaced are stopped, and set aside where a new one has
--- their name.
--- @param containers table<string, Facts>  before the start, by name
--- @param started table<string, { id: string, name: string }>  by role
--- @return table<string, Facts> after  by name
function M.after(containers, started)
  local out = {}
  for name, facts in pairs(containers) do
    local new, copy = started[facts.role or ""], {}
    for key, value in pairs(facts) do copy[key] = value end
    if new and facts.id ~= new.id then
      if facts.state == "running" then copy.state = "exited" end
      if facts.name == new.name then copy.name = container.replaced_name(containers, facts) end
    end
    out[new and copy.name or name] = copy
  end
  return out
end

--- The stopped containers of a role beyond the newest `retain`, and those that a newer one of their version replaced.
--- @param containers table<string, Facts>
--- @param role string
--- @param retain integer
--- @return Facts[]
function M.surplus(containers, role, retain)
  local kept, out = {}, {}
  for _, facts in pairs(containers) do
    if facts.role == role and (facts.state == "exited" or facts.state == "created" or facts.state == "dead") then
      local list = is_replaced(facts) and out or kept
      list[#list + 1] = facts
    end
  end
  table.sort(kept, newest_first)
  for index = retain + 1, #kept do out[#out + 1] = kept[index] end
  table.sort(out, newest_first)
  return out
end

return M
