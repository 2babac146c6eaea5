--- Going back with the database: the content that it had before the migrations that came after a release, from the
--- snapshot that the oldest of them left. What was written since is lost, so it is counted first, and a word is asked
--- for; what is there now is kept beside it, as the way back. Each step has its undo, as in a migration.

local database_module = require "deploy.migrate.database"
local door = require "native.door"
local fail = require "native.fail"
local pick = require "deploy.app.pick"
local text = require "native.text"
local traffic = require "deploy.migrate.traffic"

local M = {}
local Back = {}

local KEPT = "rollback"  -- the snapshot of what a rollback replaces: one, of the newest rollback
local TABLES_TOLD = 5

--- @class MigrationsSince  what a look at the database before a rollback found; recorded
--- @field reader string     a local image whose user may use the database
--- @field exists boolean
--- @field tags string[]     migrations that came after the release, newest first
--- @field lost string       what goes, in words
--- @field pending boolean   something is to be brought back

--- Migrations that a release has not seen, newest first: those after its own, or after its container was made.
--- @param migrations { tag: string, done_at: string }[]  newest first
--- @param version string
--- @param created? integer  seconds since 1970
--- @return { tag: string, done_at: string }[]
function M.since(migrations, version, created)
  local out = {}
  for _, one in ipairs(migrations) do
    local done = text.parse_time(one.done_at)
    if one.tag:gsub("%-%x+$", "") == version or (created and done and done <= created) then break end
    out[#out + 1] = one
  end
  return out
end

--- "note: 60012 rows, 60000 then": tables whose number of rows differs.
--- @param now table<string, integer>
--- @param before table<string, integer>
--- @return string
function M.compared(now, before)
  local names, out = {}, {}
  for name in pairs(now) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local was = before[name]
    if was ~= now[name] then
      out[#out + 1] = was and ("%s: %d rows, %d then"):format(name, now[name], was)
        or ("%s: %d rows, no such table then"):format(name, now[name])
    end
  end
  if #out == 0 then return "as many rows as then in each table" end
  if #out > TABLES_TOLD then out[TABLES_TOLD + 1] = ("%d tables more"):format(#out - TABLES_TOLD) end
  return table.concat(out, "; ", 1, math.min(#out, TABLES_TOLD + 1))
end

local function known_since(before, role, version)
  local facts, record = pick.kept(before, role.name, version), pick.record(before, version)
  return facts and facts.created or record and record.at
end

--- What is newer than a release, and what of it a rollback with the database would lose.
function Back:_look_since(before, version)
  local role = self.settings.role
  -- Where nothing serves any more, any release's image has the user who may look.
  local some = pick.current(before, role) or pick.releases(before, role.name)[1]
  if not some then
    fail.raise("app.not_running", ("no container of %s is there, so nobody can look at its database"):format(role.name),
      { host = self.host.name, hint = "go back without the database first" })
  end
  local asked = { version = version, reader = some.image, exists = false, tags = {}, lost = "", pending = false }
  local database = self:_database(asked.reader)
  asked.exists = database.place:exists()
  if not asked.exists then return asked end
  local newer = M.since(database:migrations(), version, known_since(before, role, version))
  for index, one in ipairs(newer) do asked.tags[index] = one.tag end
  local oldest = newer[#newer]
  if not oldest then return asked end
  local path = database:snapshot_path(oldest.tag)
  local then_, now = database:look_into(oldest.tag, database_module.counts), database:counts()
  if not then_ then
    local message = "the snapshot from before %s is not there any more: %s"
    fail.raise("migrate.no_snapshot", message:format(oldest.tag, path), { host = self.host.name, snapshot = path,
      hint = "go back without the database, or restore a backup (docs/backup.md); `keep` of deploy.migrate says how "
      .. "many snapshots stay" })
  end
  asked.pending, asked.snapshot, asked.since = true, path, oldest.done_at
  asked.lost = M.compared(now, then_)
  asked.note = "before " .. oldest.tag
  return asked
end

local function demand(asked, version, word, place)
  if word == version then return end
  fail.usage(("%s goes back to what it was before %s, at %s; what was written since is lost: %s"):format(place.path,
    asked.tags[#asked.tags], asked.since, asked.lost), { hint = ("if that is meant, say --word %s"):format(version),
    token = word })
end

--- Looks what going back with the database would lose, as a step of the run that changes nothing. Raises `usage`, which
--- says it, without the word; `migrate.no_snapshot` where there is no way back, `app.not_running` where no container is
--- left that tells whose database it is.
--- @async
--- @param run Run
--- @param seen table<string, Look>  what `app:look_back` found, by host name
--- @param version string  that is gone back to
--- @param word? string    the version once more
function Back:ask_back(run, seen, version, word)
  local asked = run:step("look at what the database would lose", {
    on = self.host, reads = true, run = function() return self:_look_since(seen[self.host.name], version) end,
  })[self.host]
  if asked.pending and not door.is_kept() then demand(asked, version, word, self:_database(asked.reader).place) end
  self._asked = asked
end

--- Brings the database back, as steps of the run, and leaves traffic held: the release is started next, then `release`.
--- Nothing where no migration came after the release.
--- @async
--- @param run Run
--- @param seen table<string, Look>
--- @param given? { hold?: fun() }  as for `run`: with `traffic = "held"`, the step after which nobody writes
function Back:bring_back(run, seen, given)
  local host, before, settings, asked = self.host, seen[self.host.name], self.settings, self._asked
  local function hold()
    if given and given.hold then given.hold() end
  end
  if not asked.pending then
    hold()
    return
  end
  local database = self:_database(asked.reader)
  local how = { traffic = settings.traffic == "online" and "maintenance" or settings.traffic, wait = settings.wait,
    message = settings.message, place = database.place }
  if settings.traffic == "held" then
    hold()
  else
    run:step("hold traffic", {
      on = host, run = function() return traffic.hold(self.app, host, before, how) end,
      undo = function() traffic.give_back(self.app, host, before) end,
    })
  end
  run:step("keep what the database holds now", {
    on = host,
    run = function()
      if settings.traffic == "held" then traffic.refuse_others(host, database.place) end
      return database:take_snapshot(KEPT)
    end,
    undo = function()
      database:drop_snapshot(KEPT, false)
      database:close()
    end,
  })
  run:step("bring the database back", {
    on = host,
    run = function()
      database:restore(asked.tags[#asked.tags])
      return { note = asked.lost }
    end,
    undo = function() database:restore(KEPT) end,
  })
  run:log(("%s: what the database held is kept: %s"):format(host.name, database:snapshot_path(KEPT)))
end

--- Gives a migration these calls.
--- @param migration table
function M.extend(migration)
  for name, fn in pairs(Back) do migration[name] = fn end
end

return M
