--- Docker engines, over their own interface (Engine API, Docker 20.10 and later, and Podman's socket): no
--- program is started per call. Errors are `docker.connect`, `docker.denied`, `docker.lost`, `docker.not_found`,
--- `docker.conflict`, `docker.invalid`, `docker.auth`, `docker.pull`, `docker.ship`, `docker.engine`, `docker.version`,
--- `docker.too_large` and `docker.protocol`; `status` is the engine's, where it answered.

local await = require("native.task").await
local door = require "native.door"
local raw = require "native.docker.raw"

local M = {}

--- @class Docker
--- @field host? string  whose errors these are; nil: this machine's engine
local Docker = {}
Docker.__index = Docker

-- Its calls, by what they are about.
for _, calls in ipairs {
  require "native.docker.images", require "native.docker.containers", require "native.docker.output",
  require "native.docker.archives", require "native.docker.networks", require "native.docker.system",
} do
  for name, call in pairs(calls) do Docker[name] = call end
end

--- An engine. Nothing is asked yet.
--- @param options? { socket?: string, dial?: userdata, spares?: integer, host?: string }
---   socket: "/var/run/docker.sock" unless told; dial: of an SSH session, instead of a socket; spares: so many
---   connections are dialled ahead; host: for errors
--- @return Docker
function M.client(options)
  return setmetatable({ _raw = raw.client(options), host = options and options.host }, Docker)
end

--- Raises `usage` with all mistakes of a container's description (`problems`, a line each).
--- @param spec ContainerSpec
function M.check(spec)
  raw.check(spec)
end

--- The equivalent `docker run`, secrets by name.
--- @param spec ContainerSpec
--- @return string[]
function M.run_argv(spec)
  return raw.run_argv(spec)
end

--- Lets go of the connections; a call after that is a usage error.
function Docker:close()
  self._raw:close()
end

--- Round trips so far.
--- @return integer
function Docker:requests()
  return self._raw:requests()
end

--- Whether the engine is there.
--- @async
--- @return string api_version
function Docker:ping()
  return await(self._raw:ping())
end

--- What the engine tells of its version, in its own words.
--- @async
--- @return table
function Docker:version()
  return await(self._raw:version())
end

--- What the engine tells of itself, in its own words.
--- @async
--- @return table
function Docker:info()
  return await(self._raw:info())
end

door.guard("docker", Docker, {
  reads = { "ping", "version", "info", "inspect_image", "inspect_remote_image", "list_images", "inspect", "list",
    "wait", "logs", "follow", "exec_code", "execs", "inspect_network", "list_networks", "inspect_volume",
    "list_volumes", "get_archive", "read", "stats", "disk_usage", "events" },
  free = { "close", "requests" },
})

return M
