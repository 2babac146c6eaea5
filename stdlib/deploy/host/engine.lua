--- A server's engine over SSH, or this machine's: through Docker's usual socket, and where that does not answer, by
--- what is found there: another socket (Docker's or Podman's of that user), or a command that talks to it where the
--- server forbids the forwarding of sockets. Which of them shows with the first call; nothing is asked before.

local docker = require "native.docker"
local fail = require "native.fail"
local log = require "native.log"
local process = require "native.process"
local task = require "native.task"

local M = {}

local USUAL = "/var/run/docker.sock"

-- $1 is the socket that was tried. Tells whether it is there, what is installed, which sockets this user may use.
local LOOK = [[
[ -e "$1" ] && echo there
for program in dockerd podman; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null && echo "has $program"
done
own=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
for socket in "$own/docker.sock" "$own/podman/podman.sock" /run/podman/podman.sock; do
  [ -S "$socket" ] && [ -r "$socket" ] && [ -w "$socket" ] && echo "socket $socket"
done
exit 0]]

--- @param run fun(argv: string[]): string
--- @param socket string
--- @return { there: boolean, has: table<string, boolean>, sockets: string[] }
local function look(run, socket)
  local found = { there = false, has = {}, sockets = {} }
  for line in run({ "sh", "-c", LOOK, "sh", socket }):gmatch("[^\n]+") do
    local key, value = line:match("^(%S+) ?(.*)$")
    if key == "there" then found.there = true end
    if key == "has" then found.has[value] = true end
    if key == "socket" then found.sockets[#found.sockets + 1] = value end
  end
  return found
end

local function hint(found, named)
  local other = found.sockets[1]
  if other then
    return ("%s is an engine's socket: docker_socket (DOCKER_HOST=unix://… on this machine) names it"):format(other)
  end
  if named then return nil end
  if found.has.dockerd then return "Docker is installed but does not run: `systemctl start docker`" end
  if found.has.podman then
    return "Podman is installed, its socket is not there: as that user `systemctl --user enable --now podman.socket` "
      .. "and `loginctl enable-linger`"
  end
  return "install Docker or Podman there"
end

--- The socket to use instead of one that is not there. Raises `docker.connect` where that is not for us to choose: it
--- was named, or Docker is installed and stopped.
local function instead(found, socket, named, host, err)
  if not named and not found.has.dockerd and found.sockets[1] then
    log.info(("the engine's socket is %s"):format(found.sockets[1]), { host = host })
    return found.sockets[1]
  end
  fail.raise("docker.connect", ("no engine: %s is not there"):format(socket),
    { host = host, hint = hint(found, named), cause = fail.normal(err) })
end

--- Calls of `first`, and from its first refusal on those of what `after(client, error)` gives instead, if anything. A
--- call that was refused reached nobody, so it can be made again. `where` tells the socket that counts now.
local function switching(host, first, after, where)
  local client, settled, deciding = first, false, nil

  --- Whether there is another one after `used`. Asked once for all calls that were refused side by side.
  local function decide(used, err)
    if settled then return false end
    local mine = deciding or task.spawn(function()
      local other = after(used, err)
      if other then client = other end
    end, { name = "another way to the engine", observed = true })
    deciding = mine
    local ok, failure = pcall(task.join, mine)
    if deciding == mine then deciding = nil end
    if ok then return client ~= used end
    -- The call that asked was cancelled, and ours was not: ours asks.
    if fail.normal(failure).kind ~= "cancelled" or task.cancellation() then error(failure, 0) end
    return true
  end

  local function call(name, ...)
    while true do
      local used = client
      local ok, value = pcall(used[name], used, ...)
      if ok then
        settled = true
        return value
      end
      if used == client and not decide(used, fail.normal(value)) then error(value, 0) end
    end
  end

  return setmetatable({ host = host }, { __index = function(self, name)
    if name == "_raw" then return client._raw end
    -- Containers of such an engine are in a network of their user's own, which the server itself does not reach.
    if name == "rootless" then return where():match("^/run/user/%d+/") ~= nil end
    local function method(_, ...) return call(name, ...) end
    rawset(self, name, method)
    return method
  end })
end

--- What talks to a socket from there.
local function command(socket)
  if socket:find("podman", 1, true) then return { "podman", "--url", "unix://" .. socket, "system", "dial-stdio" } end
  if socket == USUAL then return { "docker", "system", "dial-stdio" } end
  return { "docker", "--host", "unix://" .. socket, "system", "dial-stdio" }
end

--- The same calls as `docker.client`.
--- @param session SshSession
--- @param named string?  the socket's path on the server; nil: Docker's usual one, or what is found there
--- @param host string    whose errors these are
--- @return Docker
function M.over(session, named, host)
  local socket = named or USUAL
  local looked = false
  local function direct()
    -- Two: some questions are asked side by side right after a command that used up its connection.
    return docker.client { dial = session:dial_unix(socket), spares = 2, host = host }
  end
  local function run(argv) return session:exec(argv, { reads = true }).stdout end

  local forwarded = direct()
  return switching(host, forwarded, function(used, err)
    if used ~= forwarded or not fail.comes_from(err, "ssh.forwarding_refused") then return nil end
    -- OpenSSH gives one answer for «forbidden» and for «nobody listens there».
    if not looked then
      looked = true
      local found = look(run, socket)
      if not found.there then
        socket = instead(found, socket, named, host, err)
        forwarded = direct()
        return forwarded
      end
    end
    return docker.client { dial = session:dial_exec(command(socket)), host = host }
  end, function() return socket end)
end

--- This machine's.
--- @param named string?  the socket's path; nil: Docker's usual one, or what is found
--- @return Docker
function M.here(named)
  local socket = named or USUAL
  local first = docker.client { socket = socket }
  return switching(nil, first, function(used, err)
    if used ~= first or err.kind ~= "docker.connect" then return nil end
    local found = look(function(argv) return process.run(argv, { reads = true }).stdout end, socket)
    if found.there then return nil end
    socket = instead(found, socket, named, nil, err)
    return docker.client { socket = socket }
  end, function() return socket end)
end

return M
