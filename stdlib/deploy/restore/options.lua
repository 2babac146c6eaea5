--- What a recipe says of its restores, checked when it is read and completed. No host is looked at here.

local fail = require "native.fail"
local migrate = require "deploy.migrate"
local migrate_options = require "deploy.migrate.options"
local options_module = require "deploy.options"
local reindex = require "deploy.restore.reindex"
local text = require "native.text"

local M = {}

local SPEC = { backup = { "table" }, traffic = { "string" }, message = { "string" }, checks = { "table" },
  database = { "string|table" }, role = { "string" }, on = { "host" }, env = { "table" } }
local TRAFFIC = { "maintenance", "pause" }

--- @class RestoreOptions
--- @field backup? Backup      of deploy.backup: its newest one is what comes back unless another is named
--- @field database? string|{ path: string }  of an app that no deploy.migrate speaks of: a path of its containers, in
---   one of their volumes; or of the server
--- @field role? string        of such an app: whose environment and volumes; the primary one unless told
--- @field on? Host            of such an app: where the database is; the role's first server unless told
--- @field env? table          of such an app: added to the role's
--- @field traffic? "maintenance"|"pause"  requests are answered 503 (unless told), or wait at the proxy
--- @field message? string     of the maintenance, over the app's `maintenance.message`
--- @field checks? Checks      of deploy.checks: made before traffic is released; one that is required takes all back

--- What tells of the database.
local function migration_of(given, options)
  local is_app = type(given) == "table" and type(given.config) == "table"
  if is_app and options.database then return migrate._of_none(given, options) end
  if type(given) == "table" and type(given.settings) == "table" then
    for _, key in ipairs { "database", "role", "on", "env" } do
      if options[key] ~= nil then fail.usage(("deploy.restore: deploy.migrate was told of `%s`"):format(key)) end
    end
    return given
  end
  fail.usage("deploy.restore: the first argument is what deploy.migrate gave"
    .. (is_app and ", or an app with `database`" or ""))
end

--- Raises `usage`, `proxy.unsupported`.
--- @param given Migration|App
--- @param options? RestoreOptions
--- @return table  the fields of a Restore
function M.complete(given, options)
  options = options_module.check(options, SPEC, "deploy.restore")
  local migration = migration_of(given, options)
  local how = options.traffic or "maintenance"
  if how ~= "maintenance" and how ~= "pause" then
    fail.usage(("deploy.restore: traffic is maintenance or pause, got %q"):format(how),
      { hint = text.nearest_hint(how, TRAFFIC), token = how })
  end
  local app, settings = migration.app, {}
  if how == "pause" then app.proxy:needs "pause" end
  for key, value in pairs(migration.settings) do settings[key] = value end
  settings.snapshot = "held"
  local wait = 2 * settings.limit
  for _, one in ipairs(reindex.accessories(app)) do
    wait = wait + text.parse_duration(one.reindex_timeout)
  end
  return { app = app, host = settings.host, settings = settings, migration = migration,
    backup = options.backup, checks = options.checks, how = { traffic = how, wait = migrate_options.seconds(wait),
    message = options.message or settings.message } }
end

return M
