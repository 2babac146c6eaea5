--- Backups of a database, taken on its server: by a timer of the server's own, where deployrun is not asked, or when
--- told to. Each is a snapshot by SQLite's backup interface whose integrity was checked, compressed, and called by its
--- time and its SHA-256; it goes to a folder of the server, to S3-compatible storage, to this machine.
---
---     local backup = deploy.backup {
---       name = "shop", host = deploy.host "deploy@10.0.0.5",
---       database = { volume = "shop-data", path = "db/production.sqlite3" },
---       folder = "/var/backups/shop", every = "daily 03:15", keep = "30d",
---     }
---     backup:now()
---
--- recipes/backup.lua has the commands. What runs on the server is deployrun-backup, delivered to
--- ~/.deployrun/backup/NAME by its hash; its errors are `backup.*`.

local agent = require "native.agent"
local door = require "native.door"
local fail = require "native.fail"
local files = require "native.files"
local json = require "native.json"
local options = require "deploy.options"
local schedule = require "deploy.backup.schedule"
local stopping = require "deploy.stopping"
local text = require "native.text"

local M = {}

local SPEC = {
  name = { "string", required = true }, host = { "host", required = true },
  database = { "string|table", required = true }, folder = { "string" }, here = { "string" }, s3 = { "table" },
  every = { "string" }, keep = { "duration" }, at_least = { "integer" }, deadline = { "duration" },
  patience = { "duration" }, level = { "integer" }, stop = { "function" }, start = { "function" },
}
local STOP = "10s"  -- a container's own limit, unless it was made with another
local PLACE = { path = { "string", required = true }, volume = { "string" }, container = { "string" },
  user = { "string" } }
local S3 = {
  endpoint = { "string", required = true }, bucket = { "string", required = true }, prefix = { "string" },
  region = { "string" }, bucket_in_host = { "boolean" }, ca = { "string" }, part_bytes = { "integer" },
  access_key = { "string|userdata", required = true }, secret_key = { "string|userdata", required = true },
  session_token = { "string|userdata" },
}
local SETTINGS = { "folder", "keep", "at_least", "deadline", "patience", "level" }
local DAY = 24 * 3600 * 1000
local KEEP, AT_LEAST = 30 * DAY, 7  -- as the program's own
local NOT_FOUND = 127

--- @class BackupSpec
--- @field name string       letters, digits, _, . and -: one per database and store
--- @field host Host         the server that has the database
--- @field database string|{ path: string, volume?: string, container?: string, user?: string }  as for `host:sqlite`
---   without an image: a path there; in a volume; in what a container has mounted
--- @field folder? string    of the server
--- @field s3? { endpoint: string, bucket: string, prefix?: string, region?: string, access_key: string|Secret,
---   secret_key: string|Secret, session_token?: Secret, bucket_in_host?: boolean, ca?: string, part_bytes?: integer }
--- @field here? string      a folder of this machine, which gets those that `now` takes
--- @field every? string     "daily 03:15", "every 6h", "every 15m", "weekly Sun 03:15", by the server's clock
--- @field keep? string      "30d" unless told
--- @field at_least? integer the newest ones are kept however old they are; 7 unless told
--- @field deadline? string  for one backup; "6h" unless told
--- @field patience? string  for a database or a backup that is busy; "60s" unless told
--- @field level? integer    zstd's, 1 to 19; 3 unless told
--- @field stop? fun(host: Host): any      for a restore: ends what uses the database; unless told, the containers that
---   do, of one in a volume or a container
--- @field start? fun(host: Host, stopped: any)  and its way back

--- @class Backup
--- @field name string
--- @field host Host
local Backup = {}
Backup.__index = Backup

local function check_name(name)
  if not name:match("^[%w_][%w_.-]*$") or #name > 100 then
    fail.usage(("deploy.backup: `%s` cannot be a name"):format(name), { token = name })
  end
end

--- Says what is to be backed up; connects to nothing.
--- @param spec BackupSpec
--- @return Backup
function M.new(spec)
  options.check(spec, SPEC, "deploy.backup")
  check_name(spec.name)
  local place = type(spec.database) == "string" and { path = spec.database } or spec.database
  options.check(place, PLACE, "deploy.backup, database")
  if place.volume and place.container then fail.usage("deploy.backup: either a volume or a container") end
  if spec.s3 then options.check(spec.s3, S3, "deploy.backup, s3") end
  if not spec.folder and not spec.s3 then
    fail.usage("deploy.backup: `folder` or `s3` is needed", { hint = "`here` alone would leave nothing of the server's "
      .. "own backups" })
  end
  if (spec.stop == nil) ~= (spec.start == nil) then fail.usage("deploy.backup: `stop` and `start` come together") end
  if spec.every then schedule.parse(spec.every) end
  return setmetatable({ name = spec.name, host = spec.host, _spec = spec, _place = place }, Backup)
end

--- $1: the plan's name. Prints the machine's kind, the user's home, the program's hash.
local LOOK = [[
f=$HOME/.deployrun/backup/$1/program
sum=
if [ -f "$f" ] && [ ! -L "$f" ]; then
  if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$f"); else sum=$(openssl dgst -sha256 -r <"$f"); fi
fi
printf '%s\n%s\n%s\n' "$(uname -m)" "$HOME" "${sum%% *}"]]

local function look(self)
  if self._seen then return self._seen end
  local said = self.host:exec({ "sh", "-c", LOOK, "sh", self.name }, { reads = true }).stdout
  local machine, home, sum = said:match("^(.-)\n(.-)\n(.-)\n$")
  local program = agent.program(machine, "backup")
  if not program then
    fail.raise("agent.arch", ("deployrun-backup: the server is %s, this build of deployrun has it for x86_64"):format(
      tostring(machine)), { host = self.host.name, hint = "use a build that has both" })
  end
  self._seen = { home = ("%s/.deployrun/backup/%s"):format(home, self.name), program = program,
    delivered = sum == program.sha256 }
  return self._seen
end

local function plan_of(self)
  local spec, plan = self._spec, { name = self.name }
  for key, value in pairs(self._place) do plan[key] = value end
  for _, key in ipairs(SETTINGS) do plan[key] = spec[key] end
  if spec.s3 then
    plan.s3 = {}
    for key, value in pairs(spec.s3) do
      if not key:match("_key$") and key ~= "session_token" then plan.s3[key] = value end
    end
  end
  return json.encode(plan) .. "\n"
end

local function account_of(s3)
  return s3.access_key .. "\n" .. s3.secret_key .. "\n" .. (s3.session_token or "") .. "\n"
end

--- Brings program, plan and account to where they are not, or are others.
local function deliver(self)
  local seen, host = look(self), self.host
  local function write(name, bytes, mode)
    host:write(("%s/%s"):format(seen.home, name), bytes, { mode = mode, make_parents = true })
  end
  if not seen.delivered then
    host:exec({ "sh", "-c", 'umask 077; mkdir -p "$1" && chmod 700 "$HOME/.deployrun" "$1"', "sh", seen.home })
    write("program", seen.program.bytes, "0700")
    seen.delivered = true
  end
  write("plan.json", plan_of(self), "0600")
  if self._spec.s3 then write("account", account_of(self._spec.s3), "0600") end
  return seen
end

local function raise(self, said, fallback)
  local err = type(said) == "table" and said.error
  if type(err) ~= "table" or type(err.kind) ~= "string" then
    fail.raise("backup.engine", ("deployrun-backup: %s"):format(fallback), { host = self.host.name })
  end
  local fields = {}
  for key, value in pairs(err) do
    if key ~= "kind" and key ~= "message" then fields[key] = value end
  end
  fields.host = self.host.name
  fail.raise(err.kind, text.clean(tostring(err.message)), fields)
end

--- What the program answers; its errors are raised.
local function call(self, command, word, given)
  given = given or {}
  local seen = look(self)
  if not seen.delivered and given.reads then
    fail.raise("backup.plan", ("no backup called %s is installed there, or by another deployrun"):format(self.name),
      { host = self.host.name, hint = "`install` brings it there" })
  end
  local argv = { seen.home .. "/program", command, seen.home, word }
  local done = self.host:exec(argv, { check = false, reads = given.reads,
    planned = json.encode { result = given.planned or {} } })
  local ok, said = pcall(json.decode, done.stdout)
  if done.code == 0 and ok and said.result ~= nil then return said.result end
  local last = (done.stderr or ""):match("([^\r\n]+)%s*$")
  raise(self, ok and said, done.code == NOT_FOUND and "it is not there" or last or ("exit code %d"):format(done.code))
end

--- Brings what is needed to the server and, with `every`, installs the schedule: a systemd timer, else a line of cron.
--- Changes nothing that is as it should be.
--- @async
--- @return { home: string, schedule: string }  schedule: "systemd", "cron", "none"
function Backup:install()
  local seen = deliver(self)
  local kind = "none"
  if self._spec.every then
    kind = schedule.install(self.host, self.name, seen.home, self._spec.every)
  else
    schedule.remove(self.host, self.name)
  end
  return { home = seen.home, schedule = kind }
end

--- Removes the schedule, program and plan. The backups stay.
--- @async
function Backup:uninstall()
  schedule.remove(self.host, self.name)
  self.host:remove(look(self).home, { recursive = true })
  self._seen = nil
end

local function made_ms(self, file)
  local rest = file:sub(1, #self.name + 1) == self.name .. "-" and file:sub(#self.name + 2) or ""
  local stamp = rest:match("^(%d+T%d+%.%d%d%d)Z%-" .. ("%x"):rep(64) .. "%.sqlite3%.zst$")
  local made = stamp and text.parse_time(stamp)
  return made and math.floor(made * 1000 + 0.5) or nil
end

--- Of the files of a folder of this machine, those whose time is over.
local function outdated(self, names, now)
  local own = {}
  for _, name in ipairs(names) do
    local made = made_ms(self, name)
    if made then own[#own + 1] = { name = name, made = made } end
  end
  table.sort(own, function(a, b) return a.made > b.made end)
  local keep = text.duration_option(self._spec.keep, "deploy.backup: keep") or KEEP
  local old = {}
  for index = (self._spec.at_least or AT_LEAST) + 1, #own do
    if own[index].made < now - keep then old[#old + 1] = own[index].name end
  end
  return old
end

local function bring_here(self, made)
  local here, seen = self._spec.here, look(self)
  local fetched = call(self, "fetch", made.id, { planned = { file = made.id .. ".zst" } })
  files.mkdir(here)
  self.host:download(("%s/restore/%s"):format(seen.home, fetched.file), ("%s/%s"):format(here, made.file))
  call(self, "discard", fetched.file)
  if door.memory("local") then return end
  local names = {}
  for _, entry in ipairs(files.list(here)) do names[#names + 1] = entry.name end
  for _, name in ipairs(outdated(self, names, made_ms(self, made.file))) do
    files.remove(("%s/%s"):format(here, name))
  end
end

--- Takes a backup now, as the schedule does, and brings it here too where `here` is set.
--- @async
--- @return { id: string, file: string, bytes: integer, contents: integer, ms: integer, stores: table[] }
function Backup:now()
  deliver(self)
  local made = call(self, "now", nil, { planned = { id = "planned", file = "planned", bytes = 0, contents = 0, ms = 0,
    stores = {} } })
  if self._spec.here then bring_here(self, made) end
  return made
end

--- What is in the stores, newest first; `failed`: those that could not be looked at; `last`: how the last one went.
--- @async
--- @return { backups: table[], failed: table[], last: table? }
function Backup:list() return call(self, "list", nil, { reads = true }) end

--- Fetches a backup (the newest unless told) on the server and checks all of it, apart from the database.
--- @async
--- @param id? string
--- @return { id: string, store: string, bytes: integer, contents: integer, ms: integer, problems: string[] }
function Backup:drill(id) return call(self, "drill", id, { reads = true }) end

--- Brings a backup to the server's restore folder, checked.
--- @async
--- @param id? string  the newest unless told; or a file of this machine
--- @return { file: string, id: string }
function Backup:fetch(id)
  deliver(self)
  if id and id:match("%.zst$") then
    local name = "upload.zst"
    self.host:upload(id, ("%s/restore/%s"):format(look(self).home, name), { mode = "0600", make_parents = true })
    return { file = name, id = id }
  end
  return call(self, "fetch", id, { planned = { file = "planned.zst", id = id or "the newest" } })
end

--- Copies what the database holds now to the server's restore folder, once under a label.
--- @async
--- @param label string
--- @return { file: string?, absent: boolean? }  absent: there is no database
function Backup:keep(label)
  return call(self, "keep", label, { planned = { file = ("before-%s.zst"):format(label) } })
end

--- Replaces the database's content by a file of the restore folder, in one transaction, and checks it.
--- @async
--- @param file string
--- @return { contents: integer }
function Backup:load(file) return call(self, "load", file) end

--- @async
--- @return { problems: string[] }  what integrity_check and foreign_key_check find
function Backup:check() return call(self, "check", nil, { planned = { problems = {} } }) end

--- Removes a file of the restore folder.
--- @async
--- @param file string
function Backup:discard(file) call(self, "discard", file) end

--- Names of running containers that have the database's place mounted.
local function users(self)
  local place, found = self._place, {}
  if not place.volume and not place.container then return found end
  for _, listed in ipairs(self.host.docker:list()) do
    local uses = listed.name == place.container
    for _, mount in ipairs(place.volume and self.host.docker:inspect(listed.name).mounts or {}) do
      uses = uses or mount.name == place.volume
    end
    if uses then found[#found + 1] = listed.name end
  end
  return found
end

--- Ends what uses the database. Gives what `start` needs.
--- @async
--- @param users_seen? string[]  from `users`
--- @return any stopped
function Backup:stop(users_seen)
  if self._spec.stop then return self._spec.stop(self.host) or {} end
  stopping.begin(self.host)
  for _, name in ipairs(users_seen or {}) do stopping.stop(self.host, name, name) end
  return users_seen or {}
end

--- What `stop` will end, looked at before anything changes.
--- @async
--- @return string[]
function Backup:users() return self._spec.stop and {} or users(self) end

--- Starts it again; what was told to end is let end first.
--- @async
--- @param stopped any
function Backup:start(stopped)
  if self._spec.start then
    self._spec.start(self.host, stopped)
    return
  end
  for _, name in ipairs(stopped or {}) do stopping.wake(self.host, name, STOP) end
end

--- A table of `list`, for people.
--- @param listed { backups: table[], failed: table[], last: table? }
--- @return string
function M.shown(listed)
  local lines = {}
  for _, one in ipairs(listed.backups) do
    lines[#lines + 1] = ("%s  %8.1f MB  %s"):format(one.id, one.bytes / 1e6, table.concat(one.stores, ", "))
  end
  if #lines == 0 then lines[1] = "no backup yet" end
  for _, failed in ipairs(listed.failed) do
    lines[#lines + 1] = ("%s could not be looked at: %s"):format(failed.store, text.clean(failed.error.message))
  end
  local last = listed.last
  if last and not last.ok then lines[#lines + 1] = "the last one failed: " .. text.clean(last.error.message) end
  return table.concat(lines, "\n")
end

M._made_ms, M._outdated = made_ms, outdated

return M
