--- Where a migration runs: in a one-off container of the new image, in the old container, on the server. Each can be
--- ended for sure, by another process too: `run` runs it to its end, `finish` ends whatever is left.

local container = require "deploy.app.container"
local door = require "native.door"
local fail = require "native.fail"
local health = require "deploy.app.health"
local json = require "native.json"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local LAST_LINES = 30
local LABEL = "deployrun.migration"

--- @class MigrationPlace  what a command is run with
--- @field app App
--- @field host Host
--- @field role RoleConfig
--- @field version string
--- @field tag string                of the one-off container's name
--- @field env table<string, any>
--- @field again boolean             an earlier attempt may have begun
--- @field serving? Facts            the old container
--- @field before Look
--- @field release? table            what the version is made of, where an app has more to say of that
--- @field lines? string[]           what it said last

--- Tells a line as it comes and keeps the last ones.
local function take(place, line, stream)
  line = text.clean(line)
  report.emit { type = "task.output", host = place.host.name, stream = stream, line = line }
  local kept = place.lines
  kept[#kept + 1] = line
  if #kept > LAST_LINES then table.remove(kept, 1) end
end

local function take_all(place, result)
  for _, stream in ipairs { "stdout", "stderr" } do
    for line in result[stream]:gmatch("[^\r\n]+") do take(place, line, stream) end
  end
  return result.code
end

-- A one-off container of the new image, with the environment and the volumes of its role.

local function one_off(place)
  return ("%s.%s-%s"):format(place.app.config.service, place.what or "migrate", place.tag)
end

local function spec_of(place, command)
  local spec = place.app:_spec(place.role, place.version)
  for name, value in pairs(place.env) do spec.env[name] = value end
  spec.name, spec.cmd, spec.restart = one_off(place), command, "no"
  spec.labels = { [LABEL] = place.app.config.service, [container.LABEL_VERSION] = place.version }
  return spec
end

local function begun(found) return found ~= nil and found.started_at ~= "" and not found.started_at:match("^0001") end

--- The container that an earlier attempt began, if it is to be waited for; any other is out of the way.
local function adopted(place)
  local docker = place.host.docker
  local found = try(docker.inspect, docker, one_off(place))
  if found and place.again and begun(found) and (found.running or found.exit_code == 0) then return found.id end
  if found then docker:remove(found.id, { force = true, volumes = true }) end
end

--- Compose makes a one-off container of its own services itself.
local function begin(place, command)
  if place.app.begin_apart then
    return place.app:begin_apart(place, command, { name = one_off(place), label = LABEL })
  end
  local docker = place.host.docker
  local id = docker:create(spec_of(place, command)).id
  docker:start(id)
  return id
end

local image = {}

function image.run(place, command)
  local docker = place.host.docker
  local id = adopted(place)
  if not id then
    id = begin(place, command)
  end
  if not door.is_kept() then
    for line, stream in docker:follow(id, { all = true }) do take(place, line, stream) end
  end
  return docker:wait(id)
end

function image.finish(place)
  local docker = place.host.docker
  try(docker.remove, docker, one_off(place), { force = true, volumes = true })
end

-- Inside the old container. The engine has no call that ends such a command; a restart of the container does.

local old = {}

function old.run(place, command)
  return take_all(place, place.host.docker:exec(place.serving.id, command, { env = place.env }))
end

local function same(a, b) return json.encode(a) == json.encode(b) end

function old.finish(place, command)
  local docker, serving = place.host.docker, place.serving
  for _, exec in ipairs(serving and docker:execs(serving.id) or {}) do
    if exec.running and same(exec.argv, command) then
      docker:restart(serving.id, place.role.stop_timeout)
      health.wait_ready(place.host, serving, place.role, place.app.config.network, "woken")
      return
    end
  end
end

-- On the server, in a session of its own, which is known by its process and the moment that it began.

local server = {}

--- $1: the file that tells of it; then the command.
local RUN = [[
umask 077
mkdir -p "${1%/*}" && echo "$$ $(cut -d' ' -f22 "/proc/$$/stat")" >"$1" || exit 97
f=$1; shift
"$@"
code=$?
rm -f "$f"
exit $code]]

local END = [[
[ -f "$1" ] || exit 0
read -r pid began <"$1"
if [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$began" ]; then kill -s KILL -- "-$pid"; fi
rm -f "$1"]]

local function file_of(place) return (".deployrun/migrate-%s.pid"):format(place.app.config.service) end

function server.run(place, command)
  local words = { "setsid", "--wait", "sh", "-c", RUN, "sh", file_of(place) }
  if door.is_kept() then words = {} end  -- a plan names the command alone
  for _, word in ipairs(command) do words[#words + 1] = word end
  return take_all(place, place.host:exec(words, { env = place.env, check = false }))
end

function server.finish(place)
  if not door.is_kept() then place.host:exec({ "sh", "-c", END, "sh", file_of(place) }, { repeatable = true }) end
end

local function logs_of(place) return #place.lines > 0 and table.concat(place.lines, "\n") .. "\n" or nil end

local RUNNERS = { image = image, container = old, host = server }

--- Where a migration can run.
M.PLACES = { "image", "container", "host" }

--- Runs a command to its end. Raises `migrate.failed` for a code other than 0 and `migrate.timeout`, with its last
--- lines: then `finish` ends what is left of it.
--- @async
--- @param where "image"|"container"|"host"
--- @param place MigrationPlace
--- @param command string[]
--- @param limit number  ms
--- @return { ms: integer, code: integer }
function M.run(where, place, command, limit)
  local began = task.now()
  local code = M.code(where, place, command, limit)
  if code == 0 then return { ms = math.floor(task.now() - began + 0.5), code = code } end
  fail.raise("migrate.failed", ("%s: exit code %d"):format(text.shell_join(command), code), { host = place.host.name,
    code = code, logs = logs_of(place), hint = "its last lines say why" })
end

--- The same; any code is a result.
--- @async
--- @param where "image"|"container"|"host"
--- @param place MigrationPlace
--- @param command string[]
--- @param limit number  ms
--- @return integer code
function M.code(where, place, command, limit)
  place.lines = {}
  local name = text.shell_join(command)
  local ok, code = pcall(task.within, limit, name, function() return RUNNERS[where].run(place, command) end)
  if ok then return code end
  if task.cancellation() or fail.normal(code).kind ~= "timeout" then error(code, 0) end
  fail.raise("migrate.timeout", ("%s: not done within %s"):format(name, text.format_duration(limit)),
    { host = place.host.name, logs = logs_of(place), cause = code, hint = "`timeout` of deploy.migrate says how long" })
end

--- Ends what is left of it; nothing of it runs any more.
--- @async
--- @param where "image"|"container"|"host"
--- @param place MigrationPlace
--- @param command string[]
function M.finish(where, place, command) RUNNERS[where].finish(place, command) end

return M
