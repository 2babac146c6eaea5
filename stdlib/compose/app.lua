--- An app whose services are a Compose file's: a release is a Compose project of its own beside the one before, so that
--- what an app can do (look, wait, switch, retire, go back) is done as for any app; databases and the like stay in the
--- app's own project. What is Compose's own stands here; a service's way from the old to the new is moving.lua's, a
--- window's is window.lua's.

local app_module = require "deploy.app"
local back = require "compose.back"
local compose_config = require "compose.config"
local container = require "deploy.app.container"
local document = require "compose.document"
local door = require "native.door"
local fail = require "native.fail"
local files = require "native.files"
local json = require "native.json"
local migrating = require "compose.migrating"
local moving = require "compose.moving"
local pick = require "deploy.app.pick"
local remove_image = require "deploy.remove_image"
local render = require "compose.render"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"
local staying = require "compose.staying"
local task = require "native.task"
local text = require "native.text"
local tool_module = require "compose.tool"
local try = require "deploy.try"
local window = require "compose.window"
local yaml = require "native.yaml"

local M = {}
local Compose = setmetatable({}, { __index = app_module._App })
Compose.__index = Compose

local LOG_LINES = 20
local FILE_LIMIT = 1024 * 1024  -- bytes of a file that lies beside the Compose file

--- @class ComposeLook : Look
--- @field compose ComposeTool
--- @field projects table<string, string>  of the release's containers: name → project

--- @class ComposeApp : App
--- @field window boolean  the old version ends before the new one starts

local function folder_of(path) return path:match("^(.*/)[^/]*$") or "" end

local function read_beside(folder, path, places)
  local stat = files.stat(folder .. path)
  if not stat or stat.type ~= "file" or stat.size > FILE_LIMIT then
    local why = not stat and "no such file" or stat.type ~= "file" and "it is no plain file (" .. stat.type .. ")"
      or "it is larger than 1 MiB"
    fail.raise("config.invalid", ("%s: `%s`: %s"):format(places[""] or folder, path, why),
      { hint = "files that services need lie beside the Compose file" })
  end
  return files.read(folder .. path)
end

--- Reads and checks the settings and the Compose file that they name (`compose`, "compose.yml" unless told, beside
--- them), the files that it needs and all secrets; connects to nothing.
--- Raises `config.invalid`, `secret.missing`, `yaml.*`.
--- @async
--- @param source string  a YAML file
--- @return ComposeApp
function M.app(source)
  if type(source) ~= "string" then fail.usage("deploy.compose: expected a file, got a " .. type(source)) end
  local raw, places = yaml.load(source)
  local folder = folder_of(source)
  local named = type(raw) == "table" and type(raw.compose) == "string" and raw.compose or "compose.yml"
  local path = folder .. named
  local compose, refused = document.read(files.read(path, { limit = FILE_LIMIT + 1 }), path)
  local settings = compose_config.complete(raw, source, places, compose, refused)
  local beside = {}
  for _, one in ipairs(compose.local_files) do beside[one] = read_beside(folder_of(path), one, compose.places) end
  local self = app_module._assemble(settings, Compose)
  self._beside, self._values, self._came = beside, {}, {}
  for name, value in pairs(settings.env.clear) do self._values[name] = tostring(value) end
  for name, value in pairs(settings.roles[1].secret_values) do self._values[name] = value end
  self.window = settings.window
  return self
end

--- The image of the service that gets traffic, in a version. Raises `usage` for a version that means another thing
--- tomorrow.
--- @param version string
--- @return string
function Compose:image(version)
  if not container.is_version(version) then return app_module._App.image(self, version) end
  local names = {}
  for index, role in ipairs(self.config.roles) do names[index] = role.name end
  return compose_config.images(self.config, names, version)[self.config.roles[1].name]
end

--- The values of the file's variables in a version.
function Compose:_env(version)
  local out = { [self.config.variable] = version }
  for name, value in pairs(self._values) do out[name] = value end
  return out
end

--- Nothing is asked of images: they are pinned later.
function Compose:look_at_images() return nil, {} end

--- What is on a server now. Changes nothing.
--- @async
--- @param host Host
--- @param version? string  where one is to be shipped
--- @return ComposeLook
function Compose:look(host, version)
  local look
  local found = side_by_side({
    function() look = app_module._App.look(self, host) end,
    function() return version and tool_module.look(host) or false end,
    function() return version and staying.look(host, self.config) or false end,
  }, "look", function(fn) return fn() or false end)
  look.compose, look.staying = found[2] or nil, found[3] or nil
  return look
end

--- As an app's, with the project that made each.
function Compose:_facts(entries)
  local out = app_module._App._facts(self, entries)
  for _, entry in ipairs(entries) do
    local facts = out[entry.name]
    if facts and facts.id == entry.id then facts.project = (entry.labels or {})[render.LABEL_PROJECT] end
  end
  return out
end

--- Asks the registry once what each image is, so that every server gets the same: run on one server alone.
--- @async
--- @param host Host
--- @param version string
--- @return { images: table<string, string>, pins: table<string, string>, note: string }  by service: as it is written,
---   and by digest
function Compose:pin(host, version)
  local names, digests = {}, {}
  for _, role in ipairs(self.config.roles) do names[#names + 1] = role.name end
  for _, name in ipairs(self.config.stays) do names[#names + 1] = name end
  local images, refs = compose_config.images(self.config, names, version), {}
  for _, name in ipairs(names) do
    if not digests[images[name]] then refs[#refs + 1] = images[name] end
    digests[images[name]] = true
  end
  local found = side_by_side(refs, "pin", function(ref)
    if ref:find("@", 1, true) then return { digest = ref:match("@(.*)$") } end
    return host.docker:inspect_remote_image(ref, { credentials = self._credentials })
  end)
  for index, ref in ipairs(refs) do
    local repository, digest = document.repository(ref), found[index].digest
    digests[ref] = digest and ("%s@%s"):format(repository, digest) or ref  -- a spec's registry tells no digests
  end
  local pins = {}
  for _, name in ipairs(names) do pins[name] = digests[images[name]] end
  return { images = images, pins = pins, note = pins[names[1]] }
end

--- A look for each of the images that are pinned, once.
local function distinct(pins)
  local out, seen = {}, {}
  for _, ref in pairs(pins) do
    if not seen[ref] then out[#out + 1] = ref end
    seen[ref] = true
  end
  table.sort(out)
  return out
end

local function sorted_keys(set)
  local out = {}
  for key in pairs(set) do out[#out + 1] = key end
  table.sort(out)
  return out
end

--- Fetches the pinned images that are not there.
--- @async
--- @param host Host
--- @param pinned table  what `pin` returned
--- @return { unchanged: boolean, fetched: string[], note: string? }
function Compose:pull(host, pinned)
  -- Also what came with an attempt that failed: what is taken back is all that this run brought.
  local came = self._came[host.name] or {}
  self._came[host.name] = came
  side_by_side(distinct(pinned.pins), "pull", function(ref)
    if try(host.docker.inspect_image, host.docker, ref) then return true end
    host.docker:pull(ref, { credentials = self._credentials, on_progress = report.progress(host, "pull.progress") })
    came[ref] = true
    return true
  end)
  local fetched = {}
  for _, ref in ipairs(distinct(pinned.pins)) do fetched[#fetched + 1] = came[ref] and ref or nil end
  return { unchanged = #fetched == 0, fetched = json.array(fetched), note = ("%d fetched"):format(#fetched) }
end

--- Takes back a pull: what came with it goes, unless something uses it.
--- @async
--- @param host Host
--- @param before ComposeLook
--- @param pulled table?  what `pull` returned; nil: it did not come to its end
function Compose:unpull(host, before, pulled)
  local used = {}
  for _, facts in pairs(before.containers) do used[facts.ref] = true end
  for _, ref in ipairs(pulled and pulled.fetched or sorted_keys(self._came[host.name] or {})) do
    if not used[ref] then remove_image(host.docker, ref) end
  end
end

--- Which release this is, before it is sent: the same on every server.
function Compose:_identity(version, pins)
  local rendered = render.release(self.config, version, pins)
  local digest = render.digest(self.config, rendered, version, self._beside)
  return rendered, digest
end

--- Whether a container that exists holds what this release would: secrets are compared, not told.
function Compose:_holds(host, id, version)
  local found = try(host.docker.inspect, host.docker, id)
  for _, role in ipairs(self.config.roles) do
    if found and found.labels.role == role.name then
      for name, value in pairs(render.secret_env(self.config, role, self:_env(version))) do
        local same = type(value) == "string" and value == found.env[name]
          or type(value) ~= "string" and value:equals(found.env[name] or "")
        if not same then return false end
      end
    end
  end
  return found ~= nil
end

--- A project for the release that no other release has: one whose secrets have changed is another one.
function Compose:_project_for(host, version, digest, before)
  local base, number = render.project(self.config, version, digest), 1
  while true do
    local name, free = number == 1 and base or ("%s-%d"):format(base, number), true
    for _, facts in pairs(before.containers) do
      if facts.project == name and not self:_holds(host, facts.id, version) then free = false end
    end
    if free then return name end
    number = number + 1
  end
end

--- Brings a release's Compose file and what lies beside it to a server.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param pinned table
--- @return { project: string, digest: string, unchanged: boolean, note: string }
function Compose:send(host, version, before, pinned)
  local rendered, digest = self:_identity(version, pinned.pins)
  local project = self:_project_for(host, version, digest, before)
  local folder = tool_module.folder(before.compose, project)
  local known = false
  for _, one in ipairs(before.compose.folders) do known = known or one == project end
  if not known then
    self:_write_beside(host, folder)
    local file = json.encode(render.identified(self.config, rendered, version, digest, project), { pretty = true })
    host:write(folder .. "/compose.json", file .. "\n", { mode = "0600", make_parents = true })
  end
  return { project = project, digest = digest, unchanged = known, note = project }
end

function Compose:_write_beside(host, folder)
  local names = {}
  for name in pairs(self._beside) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    host:write(folder .. "/" .. name, self._beside[name], { mode = "0600", make_parents = true })
  end
end

--- Takes that back.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param pinned table
function Compose:unsend(host, version, before, pinned)
  local _, digest = self:_identity(version, pinned.pins)
  local project = self:_project_for(host, version, digest, before)
  for _, one in ipairs(before.compose.folders) do
    if one == project then return end
  end
  host:remove(tool_module.folder(before.compose, project), { recursive = true })
end

--- The release's project, to be told what to do.
function Compose:_project(before, version, sent, pins)
  local made = {}
  for index, role in ipairs(self.config.roles) do
    local labels = container.labels(self.config, role, version, sent.digest,
      role.route and json.encode(role.route) or nil)
    labels[render.LABEL_PROJECT] = sent.project
    made[index] = { service = role.name, name = container.name(self.config.service, role.name, version),
      image = pins[role.name], labels = labels, network = self.config.service .. "_default" }
  end
  return tool_module.project(before.compose or sent.tool, { name = sent.project, file_of = sent.project,
    env = self:_env(version), containers = made })
end

local function last_lines(said)
  local lines = {}
  for line in said:gmatch("[^\r\n]+") do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - LOG_LINES + 1))
end

--- Runs the migration in a container of the new version that is there for that alone, unless that version serves as it
--- would be shipped. Done twice it has to change nothing: an interrupted run does it again. Raises `migrate.failed`,
--- `migrate.timeout`.
--- @async
--- @param host Host
--- @param version string
--- @param before ComposeLook
--- @param sent table
--- @param pinned table
--- @return { unchanged: boolean?, ms: number?, note: string }
function Compose:migrate(host, version, before, sent, pinned)
  if self:_serves(host, before, version, sent) then return { unchanged = true, note = "it serves already" } end
  local migrate, service = self.config.migrate, self.config.service
  local name, limit = ("%s.migrate-%s"):format(service, version), text.parse_duration(migrate.timeout)
  try(host.docker.remove, host.docker, name, { force = true, volumes = true })
  report.waiting(host, "the migration to end", limit)
  local project = self:_project(before, version, sent, pinned.pins)
  local ok, ended = pcall(project.run, project, host, migrate.service, migrate.command,
    { name = name, label = "service=" .. service .. ".migrate", timeout = migrate.timeout, env = migrate.env })
  if not ok then
    if task.cancellation() or fail.normal(ended).kind ~= "timeout" then error(ended, 0) end
    fail.wrap("migrate.timeout", ("%s: not done within %s"):format(name, text.format_duration(limit)), ended,
      { host = host.name, hint = "`migrate.timeout` says how long" })
  end
  local said = text.clean((ended.stdout or "") .. (ended.stderr or ""))
  for _, stream in ipairs { "stdout", "stderr" } do
    for line in (ended[stream] or ""):gmatch("[^\r\n]+") do
      report.emit { type = "task.output", host = host.name, stream = stream, line = text.clean(line) }
    end
  end
  if ended.code ~= 0 then
    fail.raise("migrate.failed", ("%s: exit code %s"):format(text.shell_join(migrate.command), tostring(ended.code)), {
      host = host.name, code = ended.code, logs = last_lines(said), kept = true, hint = "its last lines say why" })
  end
  return { ms = ended.ms, note = text.format_duration(ended.ms or 0) }
end

--- Ends what is left of a migration. What it did to the database stays: a migration that was shipped has to suit the
--- version before, too.
--- @async
--- @param host Host
--- @param version string
--- @param before? ComposeLook
function Compose:unmigrate(host, version, before)
  if before then self:let_end(host, version, before, 0) end
  local name = ("%s.migrate-%s"):format(self.config.service, version)
  try(host.docker.remove, host.docker, name, { force = true, volumes = true })
end

--- Lets go of the oldest releases, with their images and files.
--- @async
--- @param host Host
--- @param before ComposeLook
--- @param started Started
--- @return { unchanged: boolean, note: string? }
function Compose:prune(host, before, started)
  local result = app_module._App.prune(self, host, before, started)
  local used, left = { [started.project or ""] = true }, door.is_kept() and {} or self:containers(host)
  for _, facts in ipairs(pick.outlived(left, self.config.roles)) do
    try(host.docker.remove, host.docker, facts.id, { volumes = true })
    left[facts.name] = nil
  end
  for _, facts in pairs(left) do used[facts.project or ""] = true end
  for _, project in ipairs(door.is_kept() and {} or before.compose.folders) do
    local own = project:sub(1, #self.config.service + 1) == self.config.service .. "-"
    local was = false
    for _, facts in pairs(before.containers) do was = was or facts.project == project end
    if own and was and not used[project] then
      host:remove(tool_module.folder(before.compose, project), { recursive = true })
    end
  end
  return result
end

back.extend(Compose)
migrating.extend(Compose)
moving.extend(Compose)
staying.extend(Compose)
window.extend(Compose)

M._Compose = Compose

return M
