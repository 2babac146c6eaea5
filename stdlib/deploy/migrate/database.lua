--- What a migration does with the database itself: checks it, takes a snapshot, brings that back where nothing but the
--- migration has written since, keeps the newest snapshots. An acknowledged write is never lost by it: where others may
--- have written, the database stays as it is.

local door = require "native.door"
local fail = require "native.fail"
local place_module = require "deploy.migrate.place"
local task = require "native.task"

local M = {}
local Database = {}
Database.__index = Database

local ROOM = 2.2        -- of its size: the snapshot, and as much again, and 10 %, for bringing it back
local RESERVE = 1.1     -- of that, what is kept free for bringing it back
local KEY = "migrate "  -- of the table deployrun_once

local TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
  .. "AND name <> 'deployrun_once' ORDER BY name"
local COUNT = 'SELECT count(*) AS rows FROM "%s"'

local function size(bytes) return ("%.1f MB"):format(bytes / 1e6) end

--- How many rows each table of the app has.
--- @async
--- @param db SqliteDatabase
--- @return table<string, integer>
function M.counts(db)
  local out = {}
  if not db:is_open() then return out end  -- a spec's
  for _, one in ipairs(db:query(TABLES)) do
    out[one.name] = db:query(COUNT:format((one.name:gsub('"', '""'))))[1].rows
  end
  return out
end

--- @param settings MigrationSettings
--- @param image string  a local one whose user may use the database
--- @return table database
function M.new(settings, image)
  local place = place_module.new(settings.host, settings.role, settings.database, image)
  return setmetatable({ settings = settings, place = place }, Database)
end

--- Where the snapshot of a migration lies.
--- @param tag string
--- @return string
function Database:snapshot_path(tag) return ("%s.before-%s"):format(self.place.path, tag) end

--- Whether a migration was done here, to its end.
--- @async
--- @param tag string
--- @return boolean
function Database:was_migrated(tag)
  return self.place:with(function(db) return db:was_done(KEY .. tag) end)
end

--- What was migrated here, newest first.
--- @async
--- @return { tag: string, done_at: string }[]
function Database:migrations()
  return self.place:with(function(db)
    if not db:is_open() then return {} end  -- a spec's
    if #db:query("SELECT 1 FROM sqlite_schema WHERE name = 'deployrun_once'") == 0 then return {} end
    return db:query("SELECT substr(key, ?1) AS tag, done_at FROM deployrun_once WHERE substr(key, 1, ?2) = ?3 "
      .. "ORDER BY rowid DESC", { #KEY + 1, #KEY, KEY })
  end)
end

local function refuse_without_room(db, space)
  local needed = math.ceil(space.bytes * ROOM)
  if space.free >= needed then return end
  fail.raise("migrate.space", ("%s takes %s and its disk has %s left: %s are needed"):format(db.path,
    size(space.bytes), size(space.free), size(needed)), { host = db.host, bytes = space.bytes, free = space.free,
    needed = needed, hint = "nothing was changed; free some space on the database's disk" })
end

--- Whole, and with room for a snapshot and for bringing it back. Raises `migrate.damaged`, `migrate.space`.
--- @async
--- @return { bytes: integer, free: integer, note: string }?
function Database:check()
  return self.place:with(function(db)
    if not db:is_open() then return end  -- a spec's
    local found = db:check()
    if not found.ok then
      fail.raise("migrate.damaged", ("%s is damaged: %s"):format(db.path, found.problems[1]), { host = db.host,
        problems = found.problems, hint = "nothing was changed; restore a backup, or mend it, then deploy" })
    end
    local space = db:space()
    if self.settings.snapshot ~= "none" then refuse_without_room(db, space) end
    return { bytes = space.bytes, free = space.free, note = size(space.bytes) }
  end)
end

--- Room for a snapshot and for bringing it back. Raises `migrate.space`.
--- @async
function Database:check_room()
  self.place:with(function(db)
    if db:is_open() then refuse_without_room(db, db:space()) end
  end)
end

--- Takes the snapshot of a migration, and the room to bring it back even when the disk is full then.
--- @async
--- @param tag string
--- @return { bytes: integer, note: string }
function Database:take_snapshot(tag)
  self:_watch()
  return self.place:with(function(db)
    db:remove_snapshot(self:snapshot_path(tag))
    local made = db:snapshot(self:snapshot_path(tag))
    db:reserve(math.ceil(made.bytes * RESERVE))
    return { bytes = made.bytes, note = size(made.bytes) }
  end)
end

--- Gives the room back; removes the snapshot unless `keep`.
--- @async
--- @param tag string
--- @param keep boolean
function Database:drop_snapshot(tag, keep)
  self.place:with(function(db)
    db:reserve(nil)
    if not keep then db:remove_snapshot(self:snapshot_path(tag)) end
  end)
end

--- Brings the snapshot back, in one transaction: who has the database open sees it.
--- @async
--- @param tag string
function Database:restore(tag)
  self.place:with(function(db)
    db:reserve(nil)
    db:restore(self:snapshot_path(tag))
  end)
end

--- What the checks find, in a word; nil for a whole database.
--- @async
--- @return string?
function Database:damage()
  local ok, value = pcall(self.place.with, self.place, function(db)
    if not db:is_open() then return nil end  -- a spec's
    local found = db:check()
    return not found.ok and found.problems[1] or nil
  end)
  if ok then return value end
  local err = fail.normal(value)
  if err.kind ~= "sqlite.corrupt" then error(value, 0) end
  return err.message
end

--- Sets the database's files aside as the snapshot of that name: of one that no copy can be made of.
--- @async
--- @param tag string
function Database:set_aside(tag) self.place:move(self.place.path, self:snapshot_path(tag)) end

--- Gives them back.
--- @async
--- @param tag string
function Database:give_back(tag) self.place:move(self:snapshot_path(tag), self.place.path) end

--- How many rows each table of the app has.
--- @async
--- @return table<string, integer>
function Database:counts() return self.place:with(M.counts) end

--- That somebody writes between a snapshot and the hold is seen by a connection that is open all the while.
function Database:_watch()
  if self.settings.snapshot ~= "before" or self.settings.traffic == "online" or door.is_kept() then return end
  self:_unwatch()
  local db = self.place:open()
  local function version() return db:query("PRAGMA data_version")[1].data_version end
  self._watched = { db = db, version = version, at = version() }
end

function Database:_unwatch()
  local watched = self._watched
  self._watched = nil
  if watched then watched.db:close() end
end

--- Whether anybody has written since the snapshot: asked once, when all is held. True also where nobody knows, since
--- another process took it.
--- @async
--- @return boolean
function Database:was_written_since()
  local watched = self._watched
  if not watched then return true end
  local ok, version = pcall(watched.version)
  self:_unwatch()
  if task.cancellation() then error(task.cancellation(), 0) end
  return not ok or version ~= watched.at
end

--- A migration that says it is done leaves a whole database. That it was done is noted in it.
--- Raises `migrate.failed`, `migrate.damaged`.
--- @async
--- @param tag string
function Database:verify(tag)
  if not self.place:exists() then
    fail.raise("migrate.failed", ("it is done, and there is no database at %s"):format(self.place.path),
      { host = self.settings.host.name, code = 0, hint = "is that where the app keeps it?" })
  end
  self.place:with(function(db)
    local found = db:check()
    if not found.ok then
      fail.raise("migrate.damaged", ("%s is damaged after the migration: %s"):format(db.path, found.problems[1]),
        { host = db.host, problems = found.problems })
    end
    db:once(KEY .. tag, function() end)
    db:reserve(nil)
  end)
end

--- Looks into the snapshot of a migration; nil where it is not there.
--- @async
--- @generic T
--- @param tag string
--- @param fn fun(db: SqliteDatabase): T
--- @return T?
function Database:look_into(tag, fn)
  local ok, value = pcall(self.place.with, self.place, fn, self:snapshot_path(tag))
  if ok then return value end
  if fail.normal(value).kind ~= "sqlite.open" then error(value, 0) end
end

--- Lets go of all snapshots but the newest, and of those of migrations that were taken back.
--- @async
--- @param taken_back? string[]  tags
function Database:let_go_of_old_snapshots(taken_back)
  local done = self:migrations()
  self.place:with(function(db)
    for _, tag in ipairs(taken_back or {}) do db:remove_snapshot(self:snapshot_path(tag)) end
    for index = self.settings.keep + 1, #done do db:remove_snapshot(self:snapshot_path(done[index].tag)) end
  end)
end

--- Ends what it had open.
function Database:close()
  self:_unwatch()
  self.place:close()
end

return M
