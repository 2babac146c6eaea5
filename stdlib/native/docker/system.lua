--- What an engine tells of itself and of what it holds, and tidying up.

local await = require("native.task").await

--- @class Docker
local Docker = {}

--- @class ContainerStats
--- @field cpu number                  share of one processor: 1.0 is one whole
--- @field memory_bytes integer        without files that are only kept in memory
--- @field memory_limit_bytes integer
--- @field pids integer
--- @field received_bytes integer
--- @field sent_bytes integer
--- @field read_bytes integer
--- @field written_bytes integer

--- What a container uses, over about a second. A stopped one uses nothing.
--- @async
--- @param name string
--- @return ContainerStats
function Docker:stats(name)
  return await(self._raw:stats(name))
end

--- @class DiskShare
--- @field count integer
--- @field bytes integer
--- @field unused_bytes integer

--- How much room an engine's things take.
--- @async
--- @return { images: DiskShare, containers: DiskShare, volumes: DiskShare, build_cache: DiskShare }
function Docker:disk_usage()
  return await(self._raw:disk_usage())
end

--- Removes what is not used: stopped containers, nameless images (with `dangling = { "false" }` all unused ones),
--- unused networks and anonymous volumes, the build cache.
--- @async
--- @param what "containers"|"images"|"networks"|"volumes"|"build"
--- @param options? { filters?: table<string, string[]> }  as the engine has them: label, until, dangling …
--- @return { removed: string[], bytes: integer }
function Docker:prune(what, options)
  return await(self._raw:prune(what, options))
end

--- @class DockerEvent
--- @field type string     "container", "image", "network", "volume" …
--- @field action string   "start", "die" …
--- @field id string
--- @field name string
--- @field attributes table<string, string>
--- @field time number     seconds since 1970, the engine's clock

--- What happens at an engine, as it happens, without end unless told:
--- `for event in docker:events { filters = { container = { "web" } } } do … end`. Leaving the loop ends it in time; the
--- end of the task at once.
--- @async
--- @param options? { filters?: table<string, string[]>, since?: string, until?: string }  times: seconds since 1970
--- @return fun(): DockerEvent?
function Docker:events(options)
  local stream = self._raw:events(options)
  return function()
    local event = await(stream:next())
    if not event then stream:close() end
    return event
  end
end

return Docker
