--- Files into and out of containers, running or not; no program in the container is needed.

local await = require("native.task").await
local fail = require "native.fail"
local task = require "native.task"

local REMOVAL = 30000  -- ms

--- @class Docker
local Docker = {}

--- @class ArchiveEntry
--- @field name string        begins with the last part of the path that was asked for; the container chose it: data,
---   never a place to write to
--- @field type "file"|"directory"|"symlink"|"link"|"other"
--- @field target? string     of a link
--- @field mode integer       permission bits
--- @field uid integer
--- @field gid integer
--- @field modified integer   seconds since 1970
--- @field bytes? string      of a file

--- A file or a folder with all in it. Raises `docker.not_found` (container or path), `docker.too_large` beyond 64 MiB.
--- @async
--- @param name string
--- @param path string  absolute, in the container
--- @return ArchiveEntry[]
function Docker:get_archive(name, path)
  return await(self._raw:get_archive(name, path))
end

--- Writes files and folders into a folder of a container. What is there is replaced, a folder never by a file.
--- @async
--- @param name string
--- @param path string  an existing folder, absolute
--- @param entries { name: string, bytes?: string|Secret, directory?: boolean, mode?: integer, uid?: integer,
---   gid?: integer }[]  name: below the folder; mode: 420 (0644) unless told, of a folder 493 (0755)
function Docker:put_archive(name, path, entries)
  await(self._raw:put_archive(name, path, entries))
end

--- What is in a file of a container. Raises `docker.not_found`.
--- @async
--- @param name string
--- @param path string
--- @return string
function Docker:read(name, path)
  local entries = await(self._raw:get_archive(name, path))
  local entry = entries[1]
  if #entries == 1 and entry.type == "file" then return entry.bytes end
  fail.usage(("%s of %s is no file"):format(path, name))
end

--- Writes a file of a container.
--- @async
--- @param name string
--- @param path string
--- @param bytes string|Secret
--- @param options? { mode?: integer, uid?: integer, gid?: integer }
function Docker:write(name, path, bytes, options)
  local folder, file = path:match("^(.*/)([^/]+)$")
  if not folder then fail.usage(("`%s`: a path in a container is absolute"):format(path)) end
  local entry = { name = file, bytes = bytes }
  for key, value in pairs(options or {}) do entry[key] = value end
  await(self._raw:put_archive(name, folder, { entry }))
end

--- Makes a container for as long as somebody talks to the program in it, puts files into it and starts it. Not behind
--- the door: what it does is behind a door of its own, and it leaves nothing.
--- @async
--- @param spec ContainerSpec  its program ends with its input; `interactive` and `auto_remove` are seen to
--- @param entries table       as for `put_archive`, below /
--- @return { id: string, dial: userdata }  dial: to its input and output
function Docker:_start_helper(spec, entries)
  spec.interactive, spec.auto_remove = true, true
  local id = await(self._raw:create(spec)).id
  local ok, err = pcall(function()
    await(self._raw:put_archive(id, "/", entries))
    await(self._raw:start(id))
  end)
  if not ok then
    task.shielded(REMOVAL, "the removal of a helper", function() self:_remove_helper(id) end)
    error(err, 0)
  end
  return { id = id, dial = self._raw:attach(id) }
end

--- Removes one that did not go by itself.
--- @async
--- @param id string
function Docker:_remove_helper(id)
  pcall(await, self._raw:remove(id, { force = true }))
end

return Docker
