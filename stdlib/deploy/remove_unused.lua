--- Removes containers, and images that nothing else uses.

local remove_image = require "deploy.remove_image"
local side_by_side = require "deploy.side_by_side"
local task = require "native.task"
local try = require "deploy.try"

local HEAD_START = 10  -- ms; a small container is gone by then

--- An image is asked for a moment after its container, over a long way before that is answered; one that is still used
--- then is asked for again, and kept for somebody else.
--- @async
--- @param docker Docker
--- @param containers { id: string }[]
--- @param images string[]
--- @return string[] removed  of the images
return function(docker, containers, images)
  local removal = task.spawn(function()
    side_by_side(containers, "remove", function(one) try(docker.remove, docker, one.id, { volumes = true }) end)
  end, { name = "removal of containers", observed = true })
  if #images > 0 and #containers > 0 then task.sleep(HEAD_START) end
  local outcomes = side_by_side(images, "remove image", function(ref)
    local removed, used = remove_image(docker, ref)
    return { removed = removed, used = used }
  end)
  task.join(removal)
  local removed = {}
  for index, ref in ipairs(images) do
    local one = outcomes[index]
    if one.removed or (one.used and remove_image(docker, ref)) then removed[#removed + 1] = ref end
  end
  return removed
end
