--- What containers and commands inside them say.

local await = require("native.task").await
local door = require "native.door"

--- @class Docker
local Docker = {}

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
---   planned?: string, code?: boolean, prepared?: string }  reads, planned: as for `host:exec`; code: false returns
---   with the end of the output, one answer earlier, and `exec_code` tells the exit code; prepared: what `prepare_exec`
---   gave for the same command, which saves an answer too (`docker.not_found` where the engine has forgotten it)
--- @return { exec: string, stdout: string, stderr: string, code?: integer, ms: number, truncated: boolean }
function Docker:exec(name, argv, options)
  return await(self._raw:exec(name, argv, door.own_options(options)))
end

--- Tells the engine of a command that nothing runs yet; `exec` with `prepared` does. One that is never started goes
--- with its container.
--- @async
--- @param name string
--- @param argv string[]
--- @param options? { env?: table<string, string|number|Secret>, user?: string, workdir?: string }
--- @return string prepared
function Docker:prepare_exec(name, argv, options)
  return await(self._raw:prepare_exec(name, argv, options))
end

--- The exit code of a command whose output has ended. Raises `docker.lost` where it still runs: its output was cut.
--- @async
--- @param exec string  `exec` of what `docker:exec` returned
--- @return integer
function Docker:exec_code(exec)
  return await(self._raw:exec_code(exec))
end

--- The commands that were started in a container and that its engine still knows.
--- @async
--- @param name string
--- @return { id: string, argv: string[], running: boolean, code?: integer }[]
function Docker:execs(name)
  return await(self._raw:execs(name))
end

return Docker
