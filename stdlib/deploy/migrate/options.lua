--- What a recipe says of its migrations, checked when it is read and completed. No host is looked at here.

local fail = require "native.fail"
local options_module = require "deploy.options"
local place = require "deploy.migrate.place"
local text = require "native.text"

local M = {}

local SPEC = {
  database = { "string|table", required = true }, command = { "table", required = true }, pending = { "table" },
  where = { "string" }, traffic = { "string" }, wait = { "duration" }, message = { "string" },
  snapshot = { "string" }, keep = { "integer" }, timeout = { "duration" }, lossy = { "boolean" },
  role = { "string" }, on = { "host" }, env = { "table" },
}
local CHOICES = {
  where = { "image", "container", "host" }, traffic = { "pause", "maintenance", "online", "held" },
  snapshot = { "held", "before", "none" },
}
local TIMEOUT = "10m"
local SLACK = 60000  -- ms beyond the migration's and the new version's own limits that requests may wait

--- @class MigrationOptions
--- @field database string|{ path: string }  a path of the app's containers, in one of their volumes; or of the server
--- @field command string[]        migrates; done twice it changes nothing
--- @field pending? string[]       ends with 0 where nothing is pending, in a one-off container of the new image
--- @field where? "image"|"container"|"host"  a one-off container of the new image (unless told), the old container, the
---   server itself
--- @field traffic? "pause"|"maintenance"|"online"|"held"  requests wait (unless told), are answered 503, go on; "held":
---   a step of the recipe sees to it that nobody writes (`hold` of `run`)
--- @field wait? string            a request waits at most; unless told as long as all may take
--- @field message? string         of a maintenance, over the app's `maintenance.message`
--- @field snapshot? "held"|"before"|"none"  taken while nobody writes (unless told); before that, for databases whose
---   copy takes long; none, which needs `lossy`
--- @field keep? integer           snapshots that are kept beside the database; 2 unless told
--- @field timeout? string         of the command, "10m"
--- @field lossy? boolean          the snapshot is brought back although others have written since: that is lost
--- @field role? string            whose environment and volumes; the primary one unless told
--- @field on? Host                where the database is; the role's first server unless told
--- @field env? table<string, string|number|Secret>  added to the role's

--- @class MigrationSettings  the same, complete
--- @field database string|{ path: string }
--- @field command string[]
--- @field pending string[]?
--- @field where "image"|"container"|"host"
--- @field traffic "pause"|"maintenance"|"online"|"held"
--- @field wait string
--- @field message string?
--- @field snapshot "held"|"before"|"none"
--- @field keep integer
--- @field limit number  ms
--- @field lossy boolean
--- @field role RoleConfig
--- @field host Host
--- @field env table<string, any>

local function check_choices(options)
  for name, choices in pairs(CHOICES) do
    local given, known = options[name], false
    for _, choice in ipairs(choices) do known = known or given == choice end
    if given and not known then
      fail.usage(("deploy.migrate: %s is %s, got %q"):format(name, table.concat(choices, ", "), given),
        { hint = text.nearest_hint(given, choices), token = given })
    end
  end
end

local function role_of(app, name)
  for _, role in ipairs(app.config.roles) do
    if not name or role.name == name then return role end
  end
  fail.usage(("deploy.migrate: no role is called %s"):format(name), { token = name })
end

local function first_host(app, role)
  for _, host in ipairs(app.hosts) do
    for _, one in ipairs(app:roles(host)) do
      if one.name == role.name then return host end
    end
  end
end

local function check_together(app, settings)
  if settings.traffic == "online" and settings.snapshot == "held" then
    fail.usage("deploy.migrate: online, nothing is held: `snapshot` is \"before\" or \"none\"")
  end
  if settings.snapshot == "none" and not settings.lossy then
    fail.usage("deploy.migrate: without a snapshot nothing can be brought back", { hint = "say `lossy = true`" })
  end
  if settings.traffic == "pause" then app.proxy:needs "pause" end
  local database, role = settings.database, settings.role
  if type(database) == "string" and not place.volume_of(role.volumes, database) then
    fail.usage(("deploy.migrate: no volume of the role %s holds %s"):format(role.name, database),
      { hint = "volumes: [\"shop-data:/data\"]; or { path = … } for a path of the server", token = database })
  end
end

--- Raises `usage`, `proxy.unsupported`.
--- @param app App
--- @param options MigrationOptions
--- @return MigrationSettings
function M.complete(app, options)
  options_module.check(options, SPEC, "deploy.migrate")
  check_choices(options)
  local role, traffic = role_of(app, options.role), options.traffic or "pause"
  local limit = text.parse_duration(options.timeout or TIMEOUT)
  local start = role.health and text.parse_duration(role.health.deadline) or 0
  local settings = {
    database = options.database, command = options.command, pending = options.pending, where = options.where or "image",
    traffic = traffic, wait = options.wait or M.seconds(limit + start + SLACK),
    message = options.message,
    snapshot = options.snapshot or (traffic == "online" and "before" or "held"), keep = options.keep or 2,
    limit = limit, lossy = options.lossy or false, role = role, host = options.on or first_host(app, role),
    env = options.env or {},
  }
  check_together(app, settings)
  return settings
end

--- Milliseconds as a duration, whole seconds.
--- @param ms number
--- @return string
function M.seconds(ms) return ("%ds"):format(math.ceil(ms / 1000)) end

return M
