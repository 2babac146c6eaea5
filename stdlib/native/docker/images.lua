--- Images of an engine.

local await = require("native.task").await
local raw = require "native.docker.raw"
local task = require "native.task"

--- @class Docker
local Docker = {}

local function without_progress(options)
  local native = {}
  for key, value in pairs(options or {}) do native[key] = value end
  local on_progress = native.on_progress
  native.on_progress = nil
  return native, on_progress
end

--- Awaits what `make` begins, and tells of its progress meanwhile in a task beside.
local function with_progress(native, on_progress, image, make)
  if not on_progress then return await(make()) end
  native.progress = raw.progress()
  local operation = make()
  local reader = task.spawn(function()
    while true do
      local progress = await(native.progress:next())
      if not progress then return end
      on_progress(progress)
    end
  end, { name = "progress of " .. image })
  local result = await(operation)
  task.join(reader)
  return result
end

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
  local native, on_progress = without_progress(options)
  return with_progress(native, on_progress, image, function() return self._raw:pull(image, native) end)
end

--- Brings an image here from another engine, without a registry: streamed, and only the layers that are not here. What
--- arrived is compared with what was sent. Raises `docker.not_found` where the other engine has no such image,
--- `docker.ship` where something else arrived.
--- @async
--- @param image string  its name on both sides
--- @param options { from: Docker, on_progress?: fun(progress: PullProgress) }
--- @return { id: string, layers: integer, sent: integer, bytes: integer, changed: boolean }
---   sent: layers that had to travel; bytes: of the archive; changed: false: it was here
function Docker:ship(image, options)
  local native, on_progress = without_progress(options)
  -- Which of its sockets an engine is reached by shows with the first answer.
  if native.from and getmetatable(native.from) ~= getmetatable(self) then native.from:ping() end
  native.from = native.from and native.from._raw
  return with_progress(native, on_progress, image, function() return self._raw:ship(image, native) end)
end

--- Writes images into a file of this machine, as `docker save` does: streamed, 0600, and there as a whole or not at
--- all. Raises `docker.not_found` before anything is written, `files.*`.
--- @async
--- @param images string|string[]  names, or IDs
--- @param path string
--- @param options? { on_progress?: fun(progress: PullProgress) }  total_bytes: about
--- @return { images: { name: string, id: string }[], bytes: integer }
function Docker:save_images(images, path, options)
  local native, on_progress = without_progress(options)
  native.images, native.path = type(images) == "string" and { images } or images, path
  return with_progress(native, on_progress, path, function() return self._raw:save_images(native) end)
end

--- Brings the images of a file of this machine to the engine: one of `save_images`, of `docker save`, also a compressed
--- one. What the engine has then is compared with what the file holds; of a compressed one only that the names are
--- there. Raises `docker.invalid` where it is no such file, `docker.ship` where something else arrived, `files.*`.
--- @async
--- @param path string
--- @param options? { on_progress?: fun(progress: PullProgress) }
--- @return { images: { name: string, id: string }[], bytes: integer }
function Docker:load_images(path, options)
  local native, on_progress = without_progress(options)
  native.path = path
  return with_progress(native, on_progress, path, function() return self._raw:load_images(native) end)
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

return Docker
