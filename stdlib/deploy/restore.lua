--- Full restore of an app's SQLite database, as steps of a run: stop the app → bring a backup or a snapshot back → boot
--- → fill the accessories again → checks → traffic. What the database held is kept first, so that until traffic is
--- released every failure ends with that content, with accessories filled from it, and with the containers that ran
--- before. Which content is restore/source.lua's, accessories are restore/reindex.lua's, holding traffic and migrating
--- deploy/migrate/'s.

local command = require "deploy.migrate.command"
local container = require "deploy.app.container"
local database_module = require "deploy.migrate.database"
local back = require "deploy.migrate.back"
local door = require "native.door"
local fail = require "native.fail"
local health = require "deploy.app.health"
local options_module = require "deploy.restore.options"
local pick = require "deploy.app.pick"
local reindex = require "deploy.restore.reindex"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local source_module = require "deploy.restore.source"
local stopping = require "deploy.stopping"
local text = require "native.text"
local traffic = require "deploy.migrate.traffic"
local try = require "deploy.try"

local M = {}
local Restore = {}
Restore.__index = Restore

local STEPS = { fill = "fill the accessories again", keep = "keep what the database holds now" }

--- @class RestoreChoice  what a look found before anything changed; recorded
--- @field source RestoreSource
--- @field exists boolean      there is a database
--- @field damage? string      what is wrong with it
--- @field reader string       a local image whose user may use it
--- @field version? string     that is booted
--- @field tag? string         names its migration
--- @field kept string         the snapshot of what is there now
--- @field ran string[]        IDs of containers that ran
--- @field release? table     what the version is made of, of an app that says more of that than its name
--- @field boot { id: string, name: string, role: string }[]  containers that are to run

--- @class Restore
--- @field host Host  where the database is

--- A restore of an app's database; connects to nothing. Raises `usage`, `proxy.unsupported`.
--- @param given Migration|App  what deploy.migrate gave; or the app, with `database`, where nothing is to be migrated
--- @param options? RestoreOptions
--- @return Restore
function M.new(given, options)
  return setmetatable(options_module.complete(given, options), Restore)
end

function Restore:_database(reader)
  self._known = self._known or database_module.new(self.settings, reader)
  return self._known
end

--- The containers of every role of the server that are to run, and those that do.
local function containers_of(self, before)
  local boot, ran, known = {}, {}, {}
  for _, role in ipairs(self.app:roles(self.host)) do
    local current = pick.current(before, role)
    for _, facts in pairs(before.containers) do
      local runs = facts.state == "running"
      if facts.role == role.name and (runs or current and facts.id == current.id) and not known[facts.id] then
        known[facts.id] = true
        boot[#boot + 1] = { id = facts.id, name = facts.name, role = role.name }
        if runs then ran[#ran + 1] = facts.id end
      end
    end
  end
  table.sort(boot, function(a, b) return a.name < b.name end)
  table.sort(ran)
  return boot, ran
end

--- Whose user may use the database, and what version its schema is for.
local function release_of(self, before)
  local role = self.settings.role
  local found = pick.current(before, role) or pick.releases(before, role.name)[1]
  if found then return found end
  fail.raise("app.not_running", ("no container of %s is there, so nobody can look at its database"):format(role.name),
    { host = self.host.name, hint = "deploy first" })
end

function Restore:_choose(before, which)
  local release = release_of(self, before)
  local database = self:_database(release.image)
  local exists = database.place:exists()
  local damage = exists and database:damage() or nil
  local source = source_module.find(database, exists and not damage, self.backup, which)
  if exists and not damage then database:check_room() end
  local boot, ran = containers_of(self, before)
  local made_of = self.app.release_of and self.app:release_of(self.host, before, release.version) or nil
  -- A restore of what the last one replaced must not lose it to its own copy; what is damaged is never overwritten.
  local kept = source.tag == "restore" and "restore-back" or "restore"
  if damage then kept = os.date("!damaged-%Y%m%dT%H%M%SZ") end
  return { source = source, exists = exists, damage = damage, kept = kept, reader = release.image,
    version = release.version, boot = boot, ran = ran, release = made_of,
    tag = ("%s-%s"):format(release.version, release.image:gsub("^sha256:", ""):sub(1, 8)),
    note = source.tag and "snapshot " .. source.tag or "backup " .. (source.id or "(the newest)") }
end

function Restore:_place(run, before, chosen, what)
  self.migration._release = chosen.release
  return self.migration:_place(run, before, { version = chosen.version, tag = chosen.tag }, what)
end

local function role_of(self, name)
  for _, role in ipairs(self.app:roles(self.host)) do
    if role.name == name then return role end
  end
end

function Restore:_stop(list)
  stopping.begin(self.host)
  side_by_side(list, "stop", function(one)
    local role = role_of(self, one.role)
    try(stopping.stop, self.host, one.id, one.name, role.stop_timeout)
  end)
end

--- Waits until containers are ready that `run` has started. One that was down may have another address: the proxy is
--- told, while it holds the traffic.
local function start(self, before, list, run)
  side_by_side(list, "start", function(one)
    local role = role_of(self, one.role)
    run(one, role)
    health.wait_ready(self.host, one, role, self.app.config.network, "woken")
  end)
  for _, role in ipairs(self.app:proxied(self.host)) do
    local route = before.routes[role.name]
    for _, one in ipairs(route and list or {}) do
      if one.id:sub(1, #route.container) == route.container then
        self.app.proxy:switch(self.host, container.route_name(self.app.config.service, role.name),
          self.app:former_target(before, role))
      end
    end
  end
end

local function among(list, ids)
  local known, out = {}, {}
  for _, id in ipairs(ids) do known[id] = true end
  for _, one in ipairs(list) do
    if known[one.id] then out[#out + 1] = one end
  end
  return out
end

local function has_begun(run, host, name)
  for _, step in ipairs(run.steps) do
    if step.name == name and step.tasks[host.name] then return true end
  end
  return false
end

--- The last thing but traffic that an undo does: the database is what it was, so what ran runs again, and accessories
--- that were filled from the other content are filled from this. Where that fails the app serves all the same.
function Restore:_unstop(run, before, chosen)
  start(self, before, among(chosen.boot, chosen.ran), function(one, role)
    stopping.wake(self.host, one.id, role.stop_timeout)
  end)
  if not has_begun(run, self.host, STEPS.fill) then return end
  local function place_of(what) return self:_place(run, before, chosen, what) end
  local ok, why = pcall(reindex.run, self.app, self.host, place_of)
  reindex.finish(self.app, place_of)
  if not ok then
    run:log(("%s: %s; the app serves, with what is left in it"):format(self.host.name, fail.normal(why).message))
  end
end

--- What came back may be older than what the version needs.
function Restore:_migrate(run, before, chosen)
  local settings, database = self.settings, self:_database(chosen.reader)
  local where = settings.where == "host" and "host" or "image"
  if not door.is_kept() and database:was_migrated(chosen.tag) then return { unchanged = true } end
  if settings.pending and not door.is_kept() then
    local place = self:_place(run, before, chosen, "pending")
    local code = command.code("image", place, settings.pending, settings.limit)
    command.finish("image", place, settings.pending)
    if code == 0 then return { unchanged = true } end
  end
  report.waiting(self.host, "the migration to end", settings.limit)
  local place = self:_place(run, before, chosen)
  local ended = database.place:alone(function() return command.run(where, place, settings.command, settings.limit) end)
  if not door.is_kept() then database:verify(chosen.tag) end
  command.finish(where, place, settings.command)
  return { note = text.format_duration(ended.ms) }
end

--- Where Compose makes a one-off container, it may come only now.
function Restore:_let_end(before, chosen)
  if self.app.let_end then self.app:let_end(self.host, chosen.version, before, 0) end
end

function Restore:_unmigrate(run, before, chosen)
  local settings = self.settings
  self:_let_end(before, chosen)
  if settings.pending then
    command.finish("image", self:_place(run, before, chosen, "pending"), settings.pending)
  end
  command.finish(settings.where == "host" and "host" or "image", self:_place(run, before, chosen), settings.command)
end

function Restore:_check(chosen)
  local database = self:_database(chosen.reader)
  database.place:with(function(db)
    if not db:is_open() then return end  -- a spec's
    local found = db:check()
    if found.ok then return end
    fail.raise("migrate.damaged", ("%s is damaged after the restore: %s"):format(db.path, found.problems[1]),
      { host = self.host.name, problems = found.problems })
  end)
  if #self.app:accessories(self.host) > 0 then return self.app:reach_accessories(self.host) end
end

--- From the choice to a database with the other content that nobody uses.
function Restore:_bring_back(run, before, chosen)
  local host, database = self.host, self:_database(chosen.reader)
  local file
  if chosen.source.kind == "backup" then
    file = run:step("fetch the backup", {
      on = host, timeout = "6h",
      run = function()
        local got = self.backup:fetch(chosen.source.id)
        return { file = got.file, note = got.id }
      end,
      undo = function(_, got) if got then self.backup:discard(got.file) end end,
    })[host].file
  end
  run:step("hold traffic", {
    on = host,
    run = function()
      local held = traffic.hold_requests(self.app, host, before, self.how)
      return { note = #held > 0 and table.concat(held, ", ") or nil, unchanged = #held == 0 }
    end,
    undo = function() traffic.give_back(self.app, host, before) end,
  })
  run:step("stop the app", {
    on = host,
    run = function()
      self:_stop(chosen.boot)
      if chosen.exists then traffic.refuse_others(host, database.place) end
      return { unchanged = #chosen.ran == 0 }
    end,
    undo = function() self:_unstop(run, before, chosen) end,
  })
  run:step(STEPS.keep, {
    on = host,
    run = function()
      if not chosen.exists then return { unchanged = true, note = "there is none" } end
      if not chosen.damage then return database:take_snapshot(chosen.kept) end
      -- No copy of it would pass a check: the files themselves are the way back.
      database:set_aside(chosen.kept)
      return { note = ("damaged, set aside: %s"):format(chosen.damage) }
    end,
    undo = function()
      if chosen.damage then
        database:give_back(chosen.kept)
      elseif chosen.exists then
        database:drop_snapshot(chosen.kept, false)
      end
      database:close()
    end,
  })
  run:step("restore the database", {
    on = host,
    run = function()
      local whole = chosen.exists and not chosen.damage
      source_module.load(chosen.source, { database = database, exists = whole, backup = self.backup, file = file })
      if door.is_kept() then return end
      local before_it = whole and database:look_into(chosen.kept, database_module.counts)
      return { note = before_it and back.compared(before_it, database:counts()) or nil }
    end,
    undo = function()
      if chosen.exists and not chosen.damage then database:restore(chosen.kept) else database.place:remove() end
    end,
  })
  return file
end

--- Migrates where that is needed, boots, fills accessories, checks.
function Restore:_bring_up(run, seen, chosen)
  local host, before = self.host, seen[self.host.name]
  local function place_of(what) return self:_place(run, before, chosen, what) end
  if self.settings.command then
    run:step("migrate what came back", {
      on = host,
      run = function() return self:_migrate(run, before, chosen) end,
      undo = function() self:_unmigrate(run, before, chosen) end,
    })
  end
  local accessories = #self.app:accessories(host) > 0
  if accessories then
    run:step("boot the accessories", {
      on = host,
      run = function() return self.app:boot_accessories(host, before) end,
      undo = function() self.app:unboot_accessories(host, before) end,
    })
  end
  run:step("boot the app", {
    on = host,
    run = function()
      start(self, before, chosen.boot, function(one) host.docker:start(one.id) end)
      return { unchanged = #chosen.boot == 0 }
    end,
    undo = function() self:_stop(chosen.boot) end,
  })
  if #reindex.accessories(self.app) > 0 then
    run:step(STEPS.fill, {
      on = host,
      run = function() return reindex.run(self.app, host, place_of) end,
      undo = function()
        self:_let_end(before, chosen)
        reindex.finish(self.app, place_of)
      end,
    })
  end
  run:step("check what came back", {
    on = host, reads = true,
    run = function() return self:_check(chosen) end,
  })
  if self.checks then self.checks:run(run, { version = chosen.version }) end
end

--- Restores, as steps of the run. Raises what its steps raise; all is as it was then.
--- @async
--- @param run Run
--- @param seen table<string, Look>  what `app:look` found, by host name, before the run changed anything
--- @param which? string  the ID of a backup, a file of this machine (`.zst`), the name of a snapshot, or the version
---   whose migration left it; unless told the newest backup, or where no backups are told of the newest snapshot
function Restore:run(run, seen, which)
  local host, before = self.host, seen[self.host.name]
  local chosen = run:step("choose what comes back", {
    on = host, reads = true, run = function() return self:_choose(before, which) end,
  })[host]
  local database = self:_database(chosen.reader)
  local file = self:_bring_back(run, before, chosen)
  self:_bring_up(run, seen, chosen)
  -- What is written from here on is the app's own: there is no way back but another restore.
  run:step("release traffic", {
    on = host, final = true, on_failure = "finish", retries = 3,
    run = function() traffic.release(self.app, host, before) end,
  })
  run:step("tidy up", {
    on = host, final = true,
    run = function()
      if file then self.backup:discard(file) end
      if not door.is_kept() then database.place:with(function(db) db:reserve(nil) end) end
      database:close()
    end,
  })
  if chosen.exists then
    local way = chosen.damage and "damaged as it is" or ("`restore %s` brings it back"):format(chosen.kept)
    run:log(("%s: what was there before is kept: %s (%s)"):format(host.name, database:snapshot_path(chosen.kept), way))
  end
end

--- What there is to restore, for people. Changes nothing.
--- @async
--- @return string
function Restore:list()
  local before, role = self.app:look(self.host), self.settings.role
  local release = pick.current(before, role) or pick.releases(before, role.name)[1]
  local database = release and self:_database(release.image)
  local said = source_module.list(database, database ~= nil and database.place:exists(), self.backup)
  if database then database:close() end
  return said
end

return M
