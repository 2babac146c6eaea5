--- Removes an image unless something uses it; one that is not there is none to remove.

local fail = require "native.fail"

--- @async
--- @param docker Docker
--- @param ref string
--- @return boolean removed
--- @return boolean used  a container has it
return function(docker, ref)
  local ok, err = pcall(docker.remove_image, docker, ref)
  local kind = not ok and fail.normal(err).kind
  if kind and kind ~= "docker.conflict" and kind ~= "docker.not_found" then error(err, 0) end
  return ok, kind == "docker.conflict"
end
