--- How the migration of a Compose project's SQLite database is made: by `deploy.migrate`, in a window, in a container
--- of the new version that the server's Compose makes for that alone.

local place_module = require "deploy.migrate.place"

local M = {}
local Migrating = {}

--- The migration that the settings name with `migrate.database`; nil where they do not.
--- @return Migration?
function Migrating:migration()
  local migrate = self.config.migrate
  if not (migrate and migrate.database) then return nil end
  return require("deploy.migrate").new(self, {
    database = migrate.database, command = migrate.command, pending = migrate.pending, env = migrate.env,
    timeout = migrate.timeout, keep = migrate.keep, role = migrate.service, traffic = "held",
  })
end

--- The backups of that database, in a folder of its server, that the settings name with `backup`; nil where they do
--- not. recipes/backup.lua has S3 and a timer.
--- @return Backup?
function Migrating:backup()
  local wanted, database = self.config.backup, self.config.migrate and self.config.migrate.database
  if not wanted then return nil end
  local settings = self:migration().settings
  local volume, path = place_module.volume_of(settings.role.volumes, database)
  local where = { volume = volume, path = path }
  if volume:sub(1, 1) == "/" then where = { path = volume:gsub("/+$", "") .. "/" .. path } end
  return require("deploy.backup").new { name = self.config.service, host = settings.host, database = where,
    folder = wanted.folder, keep = wanted.keep, at_least = wanted.at_least }
end

--- The image of a service in a release, by digest.
--- @param role ComposeRole
--- @param release { pinned: table }
--- @return string
function Migrating:pinned_image(role, release) return release.pinned.pins[role.name] end

--- Begins a command in a container of a release's service.
--- @async
--- @param place MigrationPlace
--- @param command string[]
--- @param given { name: string, label: string }
--- @return string id
function Migrating:begin_apart(place, command, given)
  local release, host = place.release, place.host
  local project = self:_project(place.before, place.version, release.sent, release.pinned.pins)
  project:begin(host, place.role.name, command, { name = given.name, env = place.env,
    label = "service=" .. self.config.service .. ".migrate" })
  return host.docker:inspect(given.name).id
end

--- Gives an app these calls.
--- @param app table
function M.extend(app)
  for name, fn in pairs(Migrating) do app[name] = fn end
end

return M
