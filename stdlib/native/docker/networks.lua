--- Networks and volumes.

local await = require("native.task").await

--- @class Docker
local Docker = {}

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

return Docker
