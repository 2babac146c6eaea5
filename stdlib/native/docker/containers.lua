--- Containers: their description and their life.

local await = require("native.task").await
local text = require "native.text"

--- @class Docker
local Docker = {}

-- A grace is a duration, or an options table that holds one.
local function grace_options(grace, what)
  if type(grace) == "table" then grace = grace.grace end
  return { grace = text.duration_option(grace, what .. ": grace") }
end

--- @class ContainerHealth
--- @field test string[]|string  a command, a line for the container's shell, or "none"
--- @field interval? string      "30s" unless told, as the engine has it
--- @field timeout? string
--- @field start_period? string
--- @field start_interval? string  Docker 25 and later
--- @field retries? integer

--- @class ContainerNetwork
--- @field name string
--- @field aliases? string[]
--- @field ip? string
--- @field ip6? string
--- @field link_local_ips? string[]
--- @field mac_address? string
--- @field driver_options? table<string, string>
--- @field gateway_priority? integer  Docker 28 and later

--- @class ContainerMount
--- @field type? "volume"|"bind"|"tmpfs"|"image"|"npipe"|"cluster"  "volume" unless told
--- @field source? string                          a volume's name, a host's folder, an image
--- @field target string
--- @field read_only? boolean
--- @field consistency? string
--- @field propagation? string                     bind: "rslave" …
--- @field recursive? "enabled"|"disabled"|"writable"|"readonly"  bind
--- @field no_copy? boolean                        volume
--- @field labels? table<string, string>           volume
--- @field driver? string                          volume
--- @field driver_options? table<string, string>   volume
--- @field subpath? string                         volume (Docker 26 and later), image (28)
--- @field size? string                            tmpfs: "64m"
--- @field mode? string                            tmpfs: "1777"

--- Everything that `docker run` can say of a container in the background; docs/docker.md has flags beside names.
--- @class ContainerSpec
--- @field image string
--- @field name? string
--- @field platform? string                    "linux/arm64"
--- @field cmd? string[]
--- @field entrypoint? string[]
--- @field env? table<string, string|number|Secret>
--- @field labels? table<string, string>
--- @field annotations? table<string, string>  Docker 24 and later
--- @field network? string                     a network, "host", "none", "container:NAME"
--- @field aliases? string[]                   names in that network
--- @field ip? string
--- @field ip6? string
--- @field link_local_ips? string[]
--- @field mac_address? string
--- @field driver_options? table<string, string>  of that network
--- @field gateway_priority? integer
--- @field networks? ContainerNetwork[]        further ones
--- @field publish? string[]                   "8080:80", "127.0.0.1:2019:2019/tcp", "8000-8010:8000-8010"
--- @field publish_all? boolean
--- @field expose? string[]
--- @field hostname? string
--- @field domainname? string
--- @field dns? string[]
--- @field dns_options? string[]
--- @field dns_search? string[]
--- @field extra_hosts? string[]               "name:address"
--- @field links? string[]
--- @field volumes? string[]                   "name:/path", "/host:/path:ro"
--- @field mounts? ContainerMount[]
--- @field tmpfs? table<string, string>        path → options
--- @field volumes_from? string[]
--- @field volume_driver? string
--- @field storage_options? table<string, string>
--- @field read_only? boolean
--- @field devices? string[]                   "/dev/fuse", "/dev/sda:/dev/disk:r", "vendor.com/class=name"
--- @field device_cgroup_rules? string[]
--- @field gpus? "all"|integer|string[]
--- @field user? string
--- @field workdir? string
--- @field group_add? string[]
--- @field cap_add? string[]
--- @field cap_drop? string[]
--- @field security? string[]                  "no-new-privileges", "seccomp=" and the profile itself
--- @field privileged? boolean
--- @field init? boolean
--- @field tty? boolean
--- @field interactive? boolean                its input stays open
--- @field stop_signal? string
--- @field stop_timeout? string                "10s"
--- @field restart? string                     "no", "always", "unless-stopped", "on-failure", "on-failure:3"
--- @field auto_remove? boolean
--- @field health? ContainerHealth
--- @field log_driver? string
--- @field log_options? table<string, string>
--- @field cgroup_parent? string
--- @field cgroupns? "host"|"private"
--- @field ipc? string                         "none", "private", "shareable", "host", "container:NAME"
--- @field pid? string                         "host", "container:NAME"
--- @field userns? "host"
--- @field uts? "host"
--- @field runtime? string
--- @field isolation? "default"|"process"|"hyperv"
--- @field sysctls? table<string, string|integer>
--- @field memory? string                      "512m"
--- @field memory_reservation? string
--- @field memory_swap? string|integer         "1g", -1
--- @field memory_swappiness? integer          0 to 100
--- @field kernel_memory? string               before Docker 23
--- @field shm_size? string
--- @field oom_kill_disable? boolean
--- @field oom_score_adj? integer              -1000 to 1000
--- @field pids_limit? integer
--- @field cpus? number
--- @field cpu_shares? integer
--- @field cpu_period? integer                 microseconds
--- @field cpu_quota? integer                  microseconds
--- @field cpu_rt_period? integer              microseconds
--- @field cpu_rt_runtime? integer             microseconds
--- @field cpu_count? integer                  Windows
--- @field cpu_percent? integer                Windows
--- @field cpuset_cpus? string                 "0-3", "0,1"
--- @field cpuset_mems? string
--- @field blkio_weight? integer               10 to 1000
--- @field blkio_weight_device? table<string, integer>
--- @field device_read_bps? table<string, string>   device → "1m"
--- @field device_write_bps? table<string, string>
--- @field device_read_iops? table<string, integer>
--- @field device_write_iops? table<string, integer>
--- @field io_max_bandwidth? string            Windows
--- @field io_max_iops? integer                Windows
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

--- Freezes every process of a container where it stands. `stop` ends a frozen one without letting it run. Raises
--- `docker.conflict` where it does not run or is frozen already.
--- @async
--- @param name string
function Docker:pause(name)
  await(self._raw:pause(name))
end

--- Lets a frozen container go on.
--- @async
--- @param name string
function Docker:unpause(name)
  await(self._raw:unpause(name))
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

return Docker
