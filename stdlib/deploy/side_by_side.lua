--- Several things at once inside one task: what each returned, in order, or the first failure once all have ended.

local fail = require "native.fail"
local task = require "native.task"

--- @async
--- @generic T, R
--- @param items T[]
--- @param name string
--- @param fn fun(item: T): R
--- @param on_failure? "cancel"|"finish"  what becomes of the others; "cancel" unless told
--- @return R[]
return function(items, name, fn, on_failure)
  if #items == 1 then return { fn(items[1]) } end
  local values, first, others = {}, nil, {}
  local options = { name = function() return name end, on_failure = on_failure }
  for index, outcome in ipairs(task.each(items, options, function(item) return fn(item) end)) do
    if outcome.ok then
      values[index] = outcome.value
    elseif outcome.error then
      local err = fail.normal(outcome.error)
      if not first or (first.kind == "cancelled" and err.kind ~= "cancelled") then
        first = err
      elseif err.kind ~= "cancelled" then
        others[#others + 1] = err
      end
    end
  end
  if first then
    if #others > 0 then first.also = others end
    error(first, 0)
  end
  return values
end
