--- Something that many tasks want and one of them makes.

local task = require "native.task"

--- Runs `make` once for all who ask, and keeps what it gives in a field; where the one that runs it is cancelled, the
--- next one does.
--- @async
--- @param self table  has a name
--- @param field string
--- @param make fun(): any
--- @return any
return function(self, field, make)
  while not self[field] do
    local running = rawget(self, field .. "_making")
    if running then
      pcall(task.join, running)
      if task.cancellation() then error(task.cancellation(), 0) end
    else
      local made = task.spawn(make, { name = "connect " .. self.name, observed = true })
      rawset(self, field .. "_making", made)
      local ok, value = pcall(task.join, made)
      rawset(self, field .. "_making", nil)
      if not ok then error(value, 0) end
      rawset(self, field, value)
    end
  end
  return self[field]
end

