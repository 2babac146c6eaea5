--- Brings deployrun-agent to where it is needed and starts it there: on a server as ~/.deployrun/agent-<hash>, into
--- a throw-away container for what lies in a volume. Nothing listens, nothing needs root, and only that file stays.

local agent = require "native.agent"
local await = require("native.task").await
local fail = require "native.fail"
local task = require "native.task"

local M = {}

local LABEL = "deployrun.agent"
local PLACE = "/volume"   -- in the throw-away container
local INSIDE = "deployrun-agent"
local REMOVAL = 30000     -- ms
local LEASE = "30s"

-- Exit codes of START, none of which a shell gives by itself.
local MISSING, WRONG_MACHINE, NO_EXEC, UNSAFE, NO_HASH = 93, 94, 95, 96, 97

--- $1: the lease; then pairs of an architecture and a hash. The hash is looked at each time: what
--- is run is what was compiled in. `exec` keeps the channel's input and output.
local START = [[
lease=$1; shift
machine=$(uname -m)
while [ $# -gt 0 ] && [ "$1" != "$machine" ]; do shift 2; done
[ $# -gt 0 ] || { echo "$machine"; exit 94; } >&2
d=$HOME/.deployrun
f=$d/agent-$(printf %.16s "$2")
if [ -L "$d" ] || { [ -e "$d" ] && [ ! -O "$d" ]; }; then echo "$d" >&2; exit 96; fi
[ -f "$f" ] && [ ! -L "$f" ] || { echo "$machine"; exit 93; } >&2
if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$f")
elif command -v openssl >/dev/null; then sum=$(openssl dgst -sha256 -r <"$f")
else exit 97; fi
[ "${sum%% *}" = "$2" ] || { echo "$machine"; exit 93; } >&2
chmod 700 "$d" "$f" || { echo "$d" >&2; exit 96; }
[ -x "$f" ] || { echo "$d" >&2; exit 95; }
exec "$f" serve --lease "$lease"]]

local MAKE_FOLDER = 'umask 077; mkdir -p "$HOME/.deployrun" && chmod 700 "$HOME/.deployrun" && printf %s "$HOME"'

local function known_programs()
  local argv, names = {}, {}
  for _, arch in ipairs(agent.ARCHITECTURES) do
    local program = agent.program(arch)
    if program then
      argv[#argv + 1], argv[#argv + 2] = arch, program.sha256
      names[#names + 1] = arch
    end
  end
  return argv, table.concat(names, ", ")
end

local function last_line(stderr) return (stderr or ""):match("([^\r\n]+)%s*$") or "" end

local function raise_start(host, err)
  if err.kind ~= "ssh.exec" then error(err, 0) end
  local said = last_line(err.stderr)
  local function raise(kind, message, hint)
    fail.raise(kind, message, { host = host, hint = hint, cause = err })
  end
  if err.code == WRONG_MACHINE then
    local _, names = known_programs()
    raise("agent.arch", ("deployrun-agent: the server is %s, this build of deployrun has it for %s"):format(said,
      names), "use a build that has both")
  elseif err.code == NO_EXEC then
    raise("agent.delivery", ("deployrun-agent: nothing in %s may be executed"):format(said),
      "its file system is mounted noexec: give this user a home where programs may run")
  elseif err.code == UNSAFE then
    raise("agent.delivery", ("deployrun-agent: %s is a link, or somebody else's"):format(said),
      "it must be a folder of the user who logs in")
  elseif err.code == NO_HASH then
    raise("agent.delivery", "deployrun-agent: the server has neither sha256sum nor openssl, so it cannot be verified",
      "install coreutils there")
  end
  raise("agent.start", ("deployrun-agent: it did not start: %s"):format(said ~= "" and said or err.message))
end

--- Not behind the door: a plan reads databases through it as a run does, and it changes nothing but its own file.
local function deliver(session, host, arch)
  local program = agent.program(arch)
  local function write()
    local made = await(session._raw:exec({ "sh", "-c", MAKE_FOLDER }, {}))
    if made.code ~= 0 then
      fail.raise("agent.delivery", ("deployrun-agent: ~/.deployrun cannot be made: %s"):format(last_line(made.stderr)),
        { host = host, hint = "the user who logs in needs a home that can be written to" })
    end
    await(session._raw:write(program.bytes, ("%s/.deployrun/%s"):format(made.stdout, program.file), { mode = "0700" }))
  end
  local ok, err = pcall(write)
  if ok then return end
  if task.cancellation() or err.kind == "agent.delivery" then error(err, 0) end
  fail.raise("agent.delivery", "deployrun-agent: it could not be written to ~/.deployrun", { host = host, cause = err,
    hint = "the user who logs in needs a home that can be written to, with 4 MB left" })
end

--- An agent on a server, over its connection: delivered where it is not there or has another content, started, greeted.
--- It lives as long as what is returned, `close` or the connection. Raises `agent.arch`, `agent.delivery`,
--- `agent.start`.
--- @async
--- @param session SshSession
--- @param host string          whose errors these are
--- @param options? { lease?: string, first?: { method: string, params?: table } }
---   lease: "30s" unless told; first: asked in one breath with the hello, `agent:first()` gives the answer
--- @return Agent
function M.on(session, host, options)
  local lease = options and options.lease or LEASE
  local first = options and options.first
  local argv = { "sh", "-c", START, "sh", lease }
  for _, word in ipairs((known_programs())) do argv[#argv + 1] = word end
  local function start()
    return agent.connect(session:dial_exec(argv, { lasting = true }), { lease = lease, first = first })
  end
  local ok, started = pcall(start)
  if ok then return started end
  local err = fail.normal(started)
  if err.kind == "ssh.exec" and err.code == MISSING then
    deliver(session, host, last_line(err.stderr))
    ok, started = pcall(start)
    if ok then return started end
    err = fail.normal(started)
  end
  raise_start(host, err)
end

local ARCH_OF_ENGINE = { amd64 = "x86_64", arm64 = "aarch64" }

--- An agent in a throw-away container: of `image`, with `volume` at /volume/NAME, or with all that `container` has
--- mounted, as the user that its program has. The image needs nothing in it. It sees the processes of the server, so
--- that it can say who holds a database; it has no network. The container goes with its agent, whatever happens to us.
--- @async
--- @param engine Docker
--- @param place { volume?: string, image?: string, container?: string, user?: string }
--- @param options? { lease?: string }  "30s" unless told
--- @return Agent agent
--- @return fun() close
function M.in_container(engine, place, options)
  local lease = options and options.lease or LEASE
  local image, user, workdir, volumes_from = place.image, place.user, nil, nil
  if place.container then
    local there = engine:inspect(place.container)
    image, user, volumes_from = image or there.image_id or there.image, user or there.user, { there.id }
  else
    workdir = ("%s/%s"):format(PLACE, place.volume)
  end
  local found = engine:inspect_image(image)
  local arch = ARCH_OF_ENGINE[found.architecture] or found.architecture or "x86_64"
  local program = agent.program(arch)
  if not program then
    local _, names = known_programs()
    fail.raise("agent.arch", ("deployrun-agent: %s is of %s, this build of deployrun has it for %s"):format(image, arch,
      names), { host = engine.host, hint = "use a build that has both" })
  end
  local helper = engine:_start_helper({
    image = image, user = user, workdir = workdir, entrypoint = { "/" .. INSIDE }, cmd = { "serve", "--lease", lease },
    labels = { [LABEL] = program.sha256:sub(1, 16) }, network = "none", pid = "host", restart = "no",
    volumes = place.volume and { ("%s:%s/%s"):format(place.volume, PLACE, place.volume) } or nil,
    volumes_from = volumes_from, security = { "no-new-privileges" }, log_driver = "none", health = { test = "none" },
  }, { { name = INSIDE, bytes = program.bytes, mode = 493 } })  -- 0755
  local function remove()
    task.shielded(REMOVAL, "the removal of an agent's container", function() engine:_remove_helper(helper.id) end)
  end
  local ok, connected = pcall(agent.connect, helper.dial, { lease = lease })
  if not ok then
    remove()
    error(connected, 0)
  end
  return connected, function()
    connected:close()
    remove()
  end
end

return M
