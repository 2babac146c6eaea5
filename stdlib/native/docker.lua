--- Docker engines, over their own interface (Engine API v1.41): no program is started per call. Errors are
--- `docker.connect`, `docker.denied`, `docker.lost`, `docker.not_found`, `docker.conflict`, `docker.invalid`,
--- `docker.auth`, `docker.pull`, `docker.engine` and `docker.protocol`; `status` is the engine's, where it answered.

local await = require("native.task").await
local door = require "native.door"
local raw = require "native.docker.raw"
local task = require "native.task"
local text = require "native.text"

local M = {}

--- @class Docker
--- @field host? string  whose errors these are; nil: this machine's engine
local Docker = {}
Docker.__index = Docker

-- A grace is a duration, or an options table that holds one.
local function grace_options(grace, what)
  if type(grace) == "table" then grace = grace.grace end
  return { grace = text.duration_option(grace, what .. ": grace") }
end

--- An engine. Nothing is asked yet.
--- @param options? { socket?: string, dial?: userdata, spare?: boolean, host?: string }
---   socket: "/var/run/docker.sock" unless told; dial: of an SSH session, instead of a socket; spare: one connection is
---   dialled ahead; host: for errors
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

-- Images

--- @class PullProgress
--- @field layers integer
--- @field done integer
--- @field bytes integer
--- @field total_bytes integer
--- @field status string

--- @class PullOptions
--- @field credentials? { username?: string|Secret, password?: string|Secret, registry?: string }  for this request only
--- @field on_progress? fun(progress: PullProgress)  some ten times a second; may wait

--- Fetches an image. Raises `docker.not_found`, `docker.auth`, `docker.pull`.
--- @async
--- @param image string  "registry:5000/name:tag" or "name@sha256:…"
--- @param options? PullOptions
--- @return { image: string, digest?: string, changed: boolean }
function Docker:pull(image, options)
  options = options or {}
  local native = {}
  for key, value in pairs(options) do native[key] = value end
  local on_progress = native.on_progress
  native.on_progress = nil
  if not on_progress then return await(self._raw:pull(image, native)) end
  native.progress = raw.progress()
  local operation = self._raw:pull(image, native)
  local reader = task.spawn(function()
    while true do
      local progress = await(native.progress:next())
      if not progress then return end
      on_progress(progress)
    end
  end, { name = "progress of " .. image })
  local pulled = await(operation)
  task.join(reader)
  return pulled
end

--- @class DockerImage
--- @field id string
--- @field tags string[]
--- @field digests string[]
--- @field created string
--- @field bytes integer
--- @field os string
--- @field architecture string
--- @field labels table<string, string>
--- @field env table<string, string>
--- @field cmd string[]
--- @field entrypoint string[]
--- @field user string
--- @field workdir string
--- @field ports string[]         "80/tcp"
--- @field stop_signal string
--- @field healthcheck boolean
--- @field raw table              the engine's whole answer

--- Raises `docker.not_found`.
--- @async
--- @param image string  name or ID
--- @return DockerImage
function Docker:inspect_image(image)
  return await(self._raw:inspect_image(image))
end

--- What a registry has under that name now, asked by the engine without fetching it. Raises `docker.not_found`,
--- `docker.auth`, `docker.pull`; `docker.engine` where the engine cannot ask (Podman).
--- @async
--- @param image string
--- @param options? { credentials?: table }  as for `pull`
--- @return { digest: string, media_type: string, bytes: integer, platforms: string[] }  "linux/amd64"
function Docker:inspect_remote_image(image, options)
  return await(self._raw:inspect_remote_image(image, options))
end

--- @async
--- @param options? { reference?: string, labels?: string[], nameless?: boolean }
---   reference: "registry/name" or with a tag; labels: "a" or "a=b"; nameless: those without any name
--- @return { id: string, tags: string[], digests: string[], created: integer, bytes: integer, labels: table }[]
function Docker:list_images(options)
  return await(self._raw:list_images(options))
end

--- @async
--- @param image string
--- @param target string  "registry/name:tag"
function Docker:tag_image(image, target)
  await(self._raw:tag_image(image, target))
end

--- Raises `docker.conflict` while a container uses it.
--- @async
--- @param image string
--- @param options? { force?: boolean }
--- @return { untagged: string[], deleted: string[] }
function Docker:remove_image(image, options)
  return await(self._raw:remove_image(image, options))
end

-- Containers

--- @class ContainerHealth
--- @field test string[]|string  a command, a line for the container's shell, or "none"
--- @field interval? string      "30s" unless told, as the engine has it
--- @field timeout? string
--- @field start_period? string
--- @field retries? integer

--- @class ContainerSpec
--- @field image string
--- @field name? string
--- @field cmd? string[]
--- @field entrypoint? string[]
--- @field env? table<string, string|number|Secret>
--- @field labels? table<string, string>
--- @field network? string
--- @field aliases? string[]                   names in that network
--- @field publish? string[]                   "8080:80", "127.0.0.1:2019:2019/tcp"
--- @field volumes? string[]                   "name:/path", "/host:/path:ro"
--- @field restart? string                     "no", "always", "unless-stopped", "on-failure", "on-failure:3"
--- @field user? string
--- @field workdir? string
--- @field hostname? string
--- @field memory? string                      "512m"
--- @field shm_size? string
--- @field cpus? number
--- @field init? boolean
--- @field read_only? boolean
--- @field stop_signal? string
--- @field stop_timeout? string                "10s"
--- @field cap_add? string[]
--- @field cap_drop? string[]
--- @field security? string[]                  "no-new-privileges"
--- @field log_driver? string
--- @field log_options? table<string, string>
--- @field health? ContainerHealth
--- @field extra_hosts? string[]               "name:address"
--- @field tmpfs? table<string, string>        path → options
--- @field ulimits? table<string, string|integer>  "1024" or "1024:2048"

--- Makes a container, not running yet. Raises `docker.not_found` (image), `docker.conflict` (name), `usage` (all
--- mistakes).
--- @async
--- @param spec ContainerSpec
--- @return { id: string, warnings: string[] }
function Docker:create(spec)
  return await(self._raw:create(spec))
end

--- @async
--- @param name string  or ID
--- @return boolean changed  false: it was running
function Docker:start(name)
  return await(self._raw:start(name))
end

--- Its stop signal, then SIGKILL after the grace.
--- @async
--- @param name string
--- @param grace? string|{ grace?: string }  "10s"; the container's own unless told
--- @return boolean changed  false: it was stopped
function Docker:stop(name, grace)
  return await(self._raw:stop(name, grace_options(grace, "docker.stop")))
end

--- Raises `docker.conflict` where it is not running.
--- @async
--- @param name string
--- @param signal? string  "KILL" unless told
function Docker:kill(name, signal)
  await(self._raw:kill(name, signal))
end

--- @async
--- @param name string
--- @param grace? string|{ grace?: string }
function Docker:restart(name, grace)
  await(self._raw:restart(name, grace_options(grace, "docker.restart")))
end

--- Raises `docker.conflict` where the new name is taken.
--- @async
--- @param name string
--- @param new_name string
function Docker:rename(name, new_name)
  await(self._raw:rename(name, new_name))
end

--- @async
--- @param name string
--- @param options? { force?: boolean, volumes?: boolean }  force: kills it first; volumes: its anonymous ones too
function Docker:remove(name, options)
  await(self._raw:remove(name, options))
end

--- @class DockerContainer
--- @field id string
--- @field name string
--- @field image string              as it was asked for
--- @field image_id string
--- @field created string
--- @field state string              "created", "running", "paused", "restarting", "exited", "dead"
--- @field running boolean
--- @field health string             "", "starting", "healthy", "unhealthy"
--- @field exit_code integer
--- @field pid integer
--- @field error string
--- @field oom_killed boolean
--- @field started_at string         "" for never
--- @field finished_at string
--- @field restart_count integer
--- @field restart string
--- @field labels table<string, string>
--- @field env table<string, string>
--- @field cmd string[]
--- @field entrypoint string[]
--- @field networks table<string, { ip: string, aliases: string[] }>
--- @field published { container: string, ip: string, port: string }[]
--- @field mounts { type: string, name: string, source: string, target: string, read_only: boolean }[]
--- @field raw table                 the engine's whole answer

--- Raises `docker.not_found`.
--- @async
--- @param name string
--- @return DockerContainer
function Docker:inspect(name)
  return await(self._raw:inspect(name))
end

--- @class DockerListed
--- @field id string
--- @field name string
--- @field image string
--- @field image_id string
--- @field state string
--- @field status string      "Up 2 minutes", for people
--- @field created integer    seconds since 1970, the engine's clock
--- @field labels table<string, string>
--- @field networks table<string, { ip: string, aliases: string[] }>

--- @async
--- @param options? { all?: boolean, labels?: string[], name?: string, states?: string[] }
---   all: stopped ones too; labels: "a" or "a=b", all of them; name: the whole name; states: any of them
--- @return DockerListed[]
function Docker:list(options)
  return await(self._raw:list(options))
end

--- Waits for a container's end.
--- @async
--- @param name string
--- @param condition? "not-running"|"next-exit"|"removed"  "not-running" unless told
--- @return integer exit_code
function Docker:wait(name, condition)
  return await(self._raw:wait(name, condition))
end

--- @class DockerLogOptions
--- @field tail? integer        lines from the end, 100 unless told
--- @field all? boolean         from the beginning instead
--- @field since? string        RFC 3339 or seconds since 1970
--- @field timestamps? boolean

--- What a container has written. 16 MiB at most, then `truncated`.
--- @async
--- @param name string
--- @param options? DockerLogOptions
--- @return { text: string, stdout: string, stderr: string, truncated: boolean }  text: both, in the engine's order
function Docker:logs(name, options)
  return await(self._raw:logs(name, options))
end

--- What a container writes, line by line, until it ends: `for line, output in docker:follow(name) do … end`.
--- @async
--- @param name string
--- @param options? DockerLogOptions
--- @return fun(): string?, "stdout"|"stderr"?
function Docker:follow(name, options)
  local stream = self._raw:follow(name, options)
  return function()
    local line = await(stream:next())
    if line then return line.text, line.output end
    stream:close()
  end
end

--- Runs a command in a running container, without a shell. A code other than 0 is a result. Cancelled, it goes on in
--- the container: the engine has no call that ends it. Raises `docker.conflict` where the container is not running.
--- @async
--- @param name string
--- @param argv string[]
--- @param options? { env?: table<string, string|number|Secret>, user?: string, workdir?: string, reads?: boolean,
---   planned?: string }  reads, planned: as for `host:exec`
--- @return { stdout: string, stderr: string, code: integer, ms: number, truncated: boolean }
function Docker:exec(name, argv, options)
  return await(self._raw:exec(name, argv, door.own_options(options)))
end

--- The commands that were started in a container and that its engine still knows.
--- @async
--- @param name string
--- @return { id: string, argv: string[], running: boolean, code?: integer }[]
function Docker:execs(name)
  return await(self._raw:execs(name))
end

-- Networks and volumes

--- Raises `docker.conflict` where one of that name exists.
--- @async
--- @param name string
--- @param options? { driver?: string, internal?: boolean, labels?: table<string, string> }
--- @return string id
function Docker:create_network(name, options)
  return await(self._raw:create_network(name, options))
end

--- @class DockerNetwork
--- @field id string
--- @field name string
--- @field driver string
--- @field internal boolean
--- @field labels table<string, string>
--- @field containers { id: string, name: string }[]  empty in lists

--- Raises `docker.not_found`.
--- @async
--- @param name string
--- @return DockerNetwork
function Docker:inspect_network(name)
  return await(self._raw:inspect_network(name))
end

--- @async
--- @param options? { labels?: string[], name?: string }
--- @return DockerNetwork[]
function Docker:list_networks(options)
  return await(self._raw:list_networks(options))
end

--- @async
--- @param name string
function Docker:remove_network(name)
  await(self._raw:remove_network(name))
end

--- @async
--- @param network string
--- @param container string
--- @param options? { aliases?: string[] }
function Docker:connect_network(network, container, options)
  await(self._raw:connect_network(network, container, options))
end

--- @async
--- @param network string
--- @param container string
--- @param options? { force?: boolean }
function Docker:disconnect_network(network, container, options)
  await(self._raw:disconnect_network(network, container, options))
end

--- @class DockerVolume
--- @field name string
--- @field driver string
--- @field mountpoint string
--- @field labels table<string, string>

--- Makes a volume; one that exists is given as it is.
--- @async
--- @param name string
--- @param options? { driver?: string, labels?: table<string, string> }
--- @return DockerVolume
function Docker:create_volume(name, options)
  return await(self._raw:create_volume(name, options))
end

--- Raises `docker.not_found`.
--- @async
--- @param name string
--- @return DockerVolume
function Docker:inspect_volume(name)
  return await(self._raw:inspect_volume(name))
end

--- @async
--- @param options? { labels?: string[] }
--- @return DockerVolume[]
function Docker:list_volumes(options)
  return await(self._raw:list_volumes(options))
end

--- Raises `docker.conflict` while a container uses it.
--- @async
--- @param name string
--- @param options? { force?: boolean }
function Docker:remove_volume(name, options)
  await(self._raw:remove_volume(name, options))
end

door.guard("docker", Docker, {
  reads = { "ping", "version", "info", "inspect_image", "inspect_remote_image", "list_images", "inspect", "list",
    "wait", "logs", "follow", "execs", "inspect_network", "list_networks", "inspect_volume", "list_volumes" },
  free = { "close", "requests" },
})

return M
