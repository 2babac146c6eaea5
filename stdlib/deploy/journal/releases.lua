--- What was released: a row of the run's journal for each version and host (docs/journal.md), on the primary host with
--- the rest of the run. So any machine knows what to bring back where somebody has removed containers and images
--- (`docker system prune --all`).

local answers = require "native.answers"
local door = require "native.door"
local fail = require "native.fail"
local lock_module = require "deploy.lock"
local log = require "native.log"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"

local M = {}

local SHAPE = { version = "string", time = "number", images = "table?", config = "table?", env = "table?" }

local journal  -- of this process's run

--- @class ReleaseRecord
--- @field version string
--- @field at integer     seconds since 1970, by the clock of who released it
--- @field images table<string, string>  by role: what it was, by digest
--- @field config? table<string, string>  by role: a digest of its settings
--- @field env? table<string, string[]>  by role: the names of its environment and secrets

--- Whose rows they are from now on.
--- @param run_journal RunJournal
function M.keep_in(run_journal) journal = run_journal end

--- Notes that a version serves on a host; it is stored together with the run's next row.
--- @param host Host
--- @param service string
--- @param version string
--- @param facts { images: table<string, string>, config: table<string, string>, env: table<string, string[]> }
function M.note(host, service, version, facts)
  if not journal or not journal.run or door.is_kept() then return end
  journal:post { type = "release", run = journal.run, host = host.name, service = service, version = version,
    facts = facts }
end

--- Of this machine's own journal, where the run has none: a command that only reads.
local function known_here(service, host, limit)
  local ours = journal
  if not ours then
    local ok, opened = pcall(require("deploy.journal").open, { info = {} }, { create = false })
    if not ok and fail.normal(opened).kind == "journal.missing" then return {} end
    if not ok then error(opened, 0) end
    ours = opened
  end
  return ours:releases(service, host.name, limit)
end

--- What one primary host knows.
local function known_there(place, service, host, limit)
  local said = lock_module.keeper(place.host):call("journal.releases",
    { name = place.name, service = service, host = host.name, limit = limit })
  return answers.list(said or {}, SHAPE, "journal.releases", place.host.name)
end

--- The newest of each version, newest first.
local function merged(lists, limit)
  local all, out, seen = {}, {}, {}
  for _, list in ipairs(lists) do
    for position, row in ipairs(list) do all[#all + 1] = { row = row, position = position } end
  end
  table.sort(all, function(a, b)
    if a.row.time ~= b.row.time then return a.row.time > b.row.time end
    return a.position < b.position
  end)
  for _, one in ipairs(all) do
    local version = one.row.version
    if not seen[version] and #out < limit then out[#out + 1] = one.row end
    seen[version] = true
  end
  return out
end

local Known = {}

--- What a host had of a service, as it had it last; of other machines' runs where deploy locks are on servers. A run
--- that ships several services has its journal on one primary host, which need not be this service's: all are asked.
--- @async
--- @param host Host
--- @param service string
--- @param limit integer
--- @return ReleaseRecord[]  newest first
function Known.of(host, service, limit)
  local places, has_own = {}, false
  for _, place in ipairs(lock_module.declared()) do
    if place.host.name ~= "local" then places[#places + 1] = place end
    has_own = has_own or place.name == service and place.host.name ~= "local"
  end
  local lists = side_by_side(places, "what was released", function(place)
    local ok, rows = pcall(known_there, place, service, host, limit)
    if ok then return rows end
    if place.name == service or task.cancellation() then error(rows, 0) end
    log.warn(("%s was not asked for releases of %s: %s"):format(place.host.name, service, fail.normal(rows).message))
    return {}
  end)
  if not has_own then lists[#lists + 1] = known_here(service, host, limit) end
  local out = {}
  for index, row in ipairs(#lists == 1 and lists[1] or merged(lists, limit)) do
    out[index] = { version = row.version, at = math.floor(row.time / 1000), images = row.images or {},
      config = row.config, env = row.env }
  end
  return out
end

door.guard("releases", Known, { reads = { "of" } })
M.known = function(...) return Known.of(...) end

return M
