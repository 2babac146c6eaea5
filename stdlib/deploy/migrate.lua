--- Migrations of an app's SQLite database, in the order that cannot corrupt: is anything pending → check → room →
--- hold what writes → snapshot → migrate once → the new version → traffic. Each is a step of the run with its undo, so
--- that a failure, a time-out and a kill at any point end with the snapshot's content and the old version, by this
--- process or by another one. What each step does is deploy/migrate/'s; why it is so, docs/sqlite.md's.

local back = require "deploy.migrate.back"
local command = require "deploy.migrate.command"
local database_module = require "deploy.migrate.database"
local door = require "native.door"
local fail = require "native.fail"
local options_module = require "deploy.migrate.options"
local pick = require "deploy.app.pick"
local report = require "native.report"
local text = require "native.text"
local traffic = require "deploy.migrate.traffic"
local try = require "deploy.try"

local M = {}
local Migration = {}
Migration.__index = Migration

local STEPS = {
  look = "look for pending migrations", check = "check the database", hold = "hold traffic",
  snapshot = "take a snapshot of the database", migrate = "migrate the database", release = "release traffic",
  tidy = "let go of old snapshots",
}

--- @class Migration
--- @field host Host  where the database is

--- @class Pending  what a look for pending migrations found; recorded, so that another process can undo
--- @field version string
--- @field tag string       names the migration: the version, and which image that was
--- @field reader string    a local image whose user may use the database
--- @field exists boolean   there is a database
--- @field pending boolean

local function recorded(run, name, host)
  for _, step in ipairs(run.steps) do
    if step.name == name then return step.tasks[host.name] end
  end
end

--- The migrations of an app, checked when the recipe is read; connects to nothing.
--- Raises `usage`, `proxy.unsupported`.
--- @param app App
--- @param options MigrationOptions
--- @return Migration
function M.new(app, options)
  local settings = options_module.complete(app, options)
  return setmetatable({ app = app, settings = settings, host = settings.host }, Migration)
end

--- The database of an app that migrates by itself or not at all: what a restore has to know of it. Raises `usage`.
--- @param app App
--- @param options { database: string|{ path: string }, role?: string, on?: Host, env?: table }
--- @return Migration
function M._of_none(app, options)
  local made = M.new(app, { database = options.database, role = options.role, on = options.on, env = options.env,
    command = {}, traffic = "held" })
  made.settings.command = nil
  return made
end

--- The same one as long as this process lives.
function Migration:_database(reader)
  self._known = self._known or database_module.new(self.settings, reader)
  return self._known
end

--- The image of a version: an app that pins its images knows it by digest.
function Migration:_image(version)
  local settings = self.settings
  if self.app.pinned_image then return self.app:pinned_image(settings.role, self._release) end
  return self.app:image(version)
end

--- What a command is run with. `again`: an earlier attempt of the step may have begun.
function Migration:_place(run, before, asked, what)
  local settings = self.settings
  local record = run.steps[#run.steps].tasks[self.host.name]
  return { app = self.app, host = self.host, role = settings.role, version = asked.version, tag = asked.tag,
    what = what, env = settings.env, before = before, release = self._release,
    again = record ~= nil and (record.attempt or 0) > 1,
    serving = pick.current(before, settings.role) }
end

local function tag_of(version, image) return ("%s-%s"):format(version, image.id:gsub("^sha256:", ""):sub(1, 8)) end

--- Looks whether anything is to be done: one question to the database where this image has migrated it before.
function Migration:_look(run, before, version)
  local found = self.host.docker:inspect_image(self:_image(version))
  local serving = pick.current(before, self.settings.role)
  -- In a plan, the new image is not there.
  local asked = { version = version, tag = tag_of(version, found), reader = serving and serving.image or found.id,
    pending = true }
  local database = self:_database(asked.reader)
  asked.exists = (serving ~= nil or not door.is_kept()) and database.place:exists()
  if asked.exists and database:was_migrated(asked.tag) then
    asked.pending = false
  elseif self.settings.pending and not door.is_kept() then
    local place = self:_place(run, before, asked, "pending")
    place.again = false
    asked.pending = command.code("image", place, self.settings.pending, self.settings.limit) ~= 0
    command.finish("image", place, self.settings.pending)
  end
  asked.note, asked.unchanged = asked.pending and "pending" or "nothing is pending", not asked.pending or nil
  return asked
end

--- The container of the question goes.
function Migration:_unask(run, before, version)
  local found = try(self.host.docker.inspect_image, self.host.docker, self:_image(version))
  if not found then return end
  local asked = { version = version, tag = tag_of(version, found) }
  command.finish("image", self:_place(run, before, asked, "pending"), self.settings.pending)
end

--- The last undo of a migration, so that all else was undone when it raises what a person has to know.
function Migration:_unlook(run, before, version, asked)
  if self.settings.pending then self:_unask(run, before, version) end
  if not self:_is_kept(run, asked) then return end
  local database = self:_database(asked.reader)
  local why, snapshot = "was written to after its snapshot", database:snapshot_path(asked.tag)
  if self.settings.snapshot == "none" then why, snapshot = "has no snapshot", nil end
  fail.raise("migrate.kept", ("%s %s: it stays as it is, with all that was written, and with what the migration did "
    .. "to it"):format(database.place.path, why), { host = self.host.name, snapshot = snapshot,
    hint = snapshot and ("look at it; the state from before the migration is %s"):format(snapshot) or "look at it" })
end

--- Whether the snapshot can be brought back with nothing lost: nobody but the migration has written since.
function Migration:_may_restore(run)
  local settings = self.settings
  if settings.snapshot == "none" then return false end
  if settings.lossy or settings.snapshot == "held" then return true end
  local held = recorded(run, STEPS.hold, self.host)
  return held ~= nil and held.result ~= nil and held.result.written == false
end

--- Whether an undo leaves the database as it is.
function Migration:_is_kept(run, asked)
  return asked ~= nil and asked.exists and recorded(run, STEPS.migrate, self.host) ~= nil and not self:_may_restore(run)
end

function Migration:_unsnapshot(run, asked)
  local database = self:_database(asked.reader)
  database:drop_snapshot(asked.tag, self:_is_kept(run, asked))
  database:close()
end

function Migration:_hold(before, asked)
  local settings, database = self.settings, self:_database(asked.reader)
  local current = pick.current(before, settings.role)
  local held = traffic.hold(self.app, self.host, before, { traffic = settings.traffic, wait = settings.wait,
    message = settings.message, place = asked.exists and database.place or nil,
    but = settings.where == "container" and current and current.id or nil })
  if settings.snapshot == "before" then held.written = database:was_written_since() end
  return held
end

--- Runs the migration, once: what an earlier attempt of this run did is waited for, or taken back first.
function Migration:_migrate(run, before, asked)
  local settings, database = self.settings, self:_database(asked.reader)
  local place = self:_place(run, before, asked)
  if place.again and self.app.let_end then self.app:let_end(self.host, asked.version, before, 0) end
  if place.again and asked.exists then
    if database:was_migrated(asked.tag) then return { unchanged = true } end
    if settings.where ~= "image" then
      command.finish(settings.where, place, settings.command)
      if self:_may_restore(run) then database:restore(asked.tag) end
    end
  end
  report.waiting(self.host, "the migration to end", settings.limit)
  local function migrate() return command.run(settings.where, place, settings.command, settings.limit) end
  local ended = asked.exists and database.place:alone(migrate) or migrate()
  if not door.is_kept() then database:verify(asked.tag) end
  command.finish(settings.where, place, settings.command)
  return { ms = ended.ms, code = ended.code, note = text.format_duration(ended.ms) }
end

--- Takes a migration back: whatever still runs of it is ended, then the content is the snapshot's.
function Migration:_unmigrate(run, before, asked)
  local settings, database = self.settings, self:_database(asked.reader)
  -- Where Compose makes the container of a migration, it may come only now.
  if self.app.let_end then self.app:let_end(self.host, asked.version, before, 0) end
  command.finish(settings.where, self:_place(run, before, asked), settings.command)
  if not asked.exists then return database.place:remove() end
  if self:_may_restore(run) then database:restore(asked.tag) end
end

function Migration:_step_of_snapshot(run, asked)
  run:step(STEPS.snapshot, {
    on = self.host,
    run = function()
      local database = self:_database(asked.reader)
      if self.settings.traffic == "held" then traffic.refuse_others(self.host, database.place) end
      return database:take_snapshot(asked.tag)
    end,
    undo = function() self:_unsnapshot(run, asked) end,
  })
end

--- Migrates, as steps of the run, and leaves traffic held: the new version comes next, then `release`. Nothing but a
--- look where nothing is pending.
--- @async
--- @param run Run
--- @param seen table<string, Look>  what `app:look` found, by host name, before the run changed anything
--- @param version string
--- @param given? { release?: table, hold?: fun() }  release: what the version is made of, of an app that says more of
---   that than its name; hold: with `traffic = "held"`, the step after which nobody writes
function Migration:run(run, seen, version, given)
  local host, before, settings = self.host, seen[self.host.name], self.settings
  local function hold()
    if given and given.hold then given.hold() end
  end
  self._release = given and given.release
  local asked = run:step(STEPS.look, {
    on = host, run = function() return self:_look(run, before, version) end,
    undo = function(_, found) self:_unlook(run, before, version, found) end,
  })[host]
  self._asked = asked
  if not asked.pending then
    self:_database(asked.reader):close()
    hold()
    return
  end
  local snapshot = asked.exists and settings.snapshot
  if asked.exists then
    run:step(STEPS.check, {
      on = host, reads = true, run = function() return self:_database(asked.reader):check() end,
    })
  end
  if snapshot == "before" then self:_step_of_snapshot(run, asked) end
  if settings.traffic == "held" then
    hold()
  elseif settings.traffic ~= "online" then
    run:step(STEPS.hold, {
      on = host, run = function() return self:_hold(before, asked) end,
      undo = function() traffic.give_back(self.app, host, before) end,
    })
  end
  if snapshot == "held" then self:_step_of_snapshot(run, asked) end
  run:step(STEPS.migrate, {
    on = host,
    run = function() return self:_migrate(run, before, asked) end,
    undo = function() self:_unmigrate(run, before, asked) end,
  })
end

--- The undo of a switch: where traffic is held, it is given back with all else once the database is what it was.
--- @async
--- @param host Host
--- @param before Look
function Migration:unswitch(host, before)
  local asked = self._asked
  local holds = asked and asked.pending and (self.settings.traffic ~= "online" or asked.tags)
    and host.name == self.host.name
  if not holds then self.app:unswitch(host, before) end
end

--- Lets traffic flow to the new version, as a final step: what is written from now on is the new version's, so there is
--- no way back but a rollback. Steps after it are final too.
--- @async
--- @param run Run
--- @param seen table<string, Look>
function Migration:release(run, seen)
  local host, asked = self.host, self._asked
  if not asked or not asked.pending then return end
  run:step(self.settings.traffic == "held" and STEPS.tidy or STEPS.release, {
    on = host, final = true, on_failure = "finish", retries = 3,
    run = function()
      local database = self:_database(asked.reader)
      if self.settings.traffic ~= "held" then traffic.release(self.app, host, seen[host.name]) end
      if not door.is_kept() then database:let_go_of_old_snapshots(asked.tags) end
      database:close()
    end,
  })
end

--- Says before a rollback where the database stands: migrations are not taken back.
--- @async
--- @param run Run
--- @param before Look
--- @param version string  that is gone back to
--- @return { note: string?, unchanged: boolean }
function Migration:tell_rollback(run, before, version)
  local serving = pick.current(before, self.settings.role)
  local database = serving and self:_database(serving.image)
  local newest = database and database.place:exists() and database:migrations()[1]
  if database then database:close() end
  if not newest or newest.tag:gsub("%-%x+$", "") == version then return { unchanged = true } end
  local words = "%s: the database was migrated by %s at %s and stays so; %s runs on that schema. As it was before: %s"
  run:log(words:format(self.host.name, newest.tag, newest.done_at, version, database:snapshot_path(newest.tag)))
  return { note = "migrated by " .. newest.tag, unchanged = true }
end

back.extend(Migration)

return M
