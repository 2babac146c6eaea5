--- Which releases a host keeps, which one a rollback goes back to, which ones are let go. Pure: looks in, answers out.

local container = require "deploy.app.container"
local fail = require "native.fail"

local M = {}

local SHORTEST = 4          -- letters that a version can be told by
local SHORT_SHA = 7         -- letters of a tag that is a short SHA, as git writes them
local REMEMBERED = 1000000  -- rank of what is remembered alone: after what is there

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

--- What runs of these roles besides what was started: what a start replaces, by name.
--- @param look Look
--- @param roles { name: string }[]
--- @param started? Started  nothing, where nothing was
--- @return { facts: Facts, role: table }[]
function M.replaced(look, roles, started)
  local out = {}
  for _, role in ipairs(roles) do
    local own = started and started.roles[role.name]
    for _, facts in pairs(look.containers) do
      if facts.role == role.name and facts.state == "running" and not (own and own.id == facts.id) then
        out[#out + 1] = { facts = facts, role = role }
      end
    end
  end
  table.sort(out, function(a, b) return a.facts.name < b.facts.name end)
  return out
end

--- What runs of a project's services that are not among these roles any more, by name.
--- @param look Look
--- @param roles { name: string }[]
--- @return { facts: Facts, role: table }[]
function M.left_out(look, roles)
  local known, out = {}, {}
  for _, role in ipairs(roles) do known[role.name] = true end
  for _, facts in pairs(look.containers) do
    if facts.state == "running" and facts.project and facts.role and not known[facts.role] then
      out[#out + 1] = { facts = facts, role = { name = facts.role, proxied = false, stop_timeout = "10s" } }
    end
  end
  table.sort(out, function(a, b) return a.facts.name < b.facts.name end)
  return out
end

--- Stopped containers of such services whose release has no other container any more: nothing goes back to them.
--- @param containers table<string, Facts>
--- @param roles { name: string }[]
--- @return Facts[]
function M.outlived(containers, roles)
  local known, versions, out = {}, {}, {}
  for _, role in ipairs(roles) do known[role.name] = true end
  for _, facts in pairs(containers) do
    if known[facts.role] then versions[facts.version or ""] = true end
  end
  for _, facts in pairs(containers) do
    local is_left = facts.project and not known[facts.role] and facts.state ~= "running"
    if is_left and not versions[facts.version or ""] then out[#out + 1] = facts end
  end
  return out
end

--- The container that is kept of a version.
--- @param look Look
--- @param role string
--- @param version string
--- @return Facts?
function M.kept(look, role, version)
  for _, facts in ipairs(M.releases(look, role)) do
    if facts.version == version then return facts end
  end
end

--- What a server remembers of a version.
--- @param look Look
--- @param version string
--- @return ReleaseRecord?
function M.record(look, version)
  for _, record in ipairs(look.records or {}) do
    if record.version == version then return record end
  end
end

--- @class KnownRelease
--- @field version string
--- @field created integer
--- @field rank integer
--- @field order number   rises with each release
--- @field facts Facts?   its container; nil: it is gone
--- @field ref string?    its image by digest, where that is known

--- The order in which versions were released, as numbers that rise: as rows of the journal tell it; a container's age
--- tells less, since a rollback may have made it again, and what noted a release has another clock than the engine.
local function order_of(look, kept)
  local order, last = {}, math.huge
  for _, record in ipairs(look.records or {}) do
    local one = kept[record.version]
    last = math.min(one and one.created or record.at, last - 0.001)
    order[record.version] = last
  end
  return order
end

local function newest_release_first(a, b)
  if a.order ~= b.order then return a.order > b.order end
  return a.rank < b.rank
end

--- Every release that a server keeps or remembers, newest first.
--- @param look Look
--- @param role string
--- @return KnownRelease[]
function M.known(look, role)
  local out, kept = {}, {}
  for _, facts in ipairs(M.releases(look, role)) do kept[facts.version] = kept[facts.version] or facts end
  local order, has = order_of(look, kept), {}
  for _, facts in ipairs(M.releases(look, role)) do
    local record = M.record(look, facts.version)
    out[#out + 1] = { version = facts.version, created = facts.created, rank = facts.rank, facts = facts,
      order = order[facts.version] or facts.created, ref = record and record.images[role] }
    has[facts.version] = true
  end
  for index, record in ipairs(look.records or {}) do
    if not has[record.version] and record.images[role] then
      out[#out + 1] = { version = record.version, created = record.at, rank = REMEMBERED + index,
        order = order[record.version], ref = record.images[role] }
      has[record.version] = true
    end
  end
  table.sort(out, newest_release_first)
  return out
end

--- Those of them that are older than the serving one.
local function candidates(look, role)
  local current, known = M.current(look, role), M.known(look, role.name)
  local serving
  for _, one in ipairs(known) do
    if current and one.facts and one.facts.id == current.id then serving = one end
  end
  local out = {}
  for _, one in ipairs(known) do
    local older = not current
      or serving and newest_release_first(serving, one) or not serving and newest_first(current, one)
    if older and one.version ~= (current or {}).version then out[#out + 1] = one end
  end
  return out
end

local function versions_of(list)
  local out = {}
  for index, one in ipairs(list) do out[index] = one.version end
  return out
end

--- Of SHAs alone: v1.2.1 is no beginning of v1.2.10.
local function is_beginning(short, long, least)
  return #short >= least and #long >= SHORT_SHA and long:match("^%x+$") and long:sub(1, #short) == short
end

--- The version that somebody means: one of the list as it is, the only SHA with that beginning (or that is the
--- beginning: a tag may be a short SHA), the one with that digest.
local function meant(list, wanted)
  local found = {}
  for _, one in ipairs(list) do
    if one.version == wanted then return wanted end
    local is_digest = wanted:match("^sha256:%x+$") and one.ref and one.ref:sub(-#wanted) == wanted
    if is_digest or is_beginning(wanted, one.version, SHORTEST) or is_beginning(one.version, wanted, SHORT_SHA) then
      found[#found + 1] = one.version
    end
  end
  return #found == 1 and found[1] or nil
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

--- The version to go back to: the wanted one, else the newest that every host keeps (or remembers) and that is older
--- than what serves. Raises `app.no_release` when a host does not have it; nothing has been changed then.
--- @param seen table<string, Look>  by host name
--- @param roles { host: string, role: RoleConfig }[]  every place that needs the release
--- @param wanted string?
--- @return string version
function M.rollback_target(seen, roles, wanted)
  local common
  for _, place in ipairs(roles) do
    local look = seen[place.host]
    local known = wanted and M.known(look, place.role.name) or candidates(look, place.role)
    local list = versions_of(known)
    wanted = wanted and meant(known, wanted) or wanted
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
