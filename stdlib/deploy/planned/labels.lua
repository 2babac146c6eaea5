--- Which labels something has, as the filters of an engine's lists ask.

--- @param one { labels?: table<string, string> }
--- @param wanted? string[]  "a" or "a=b"; all of them
--- @return boolean
return function(one, wanted)
  for _, label in ipairs(wanted or {}) do
    local name, value = label:match("^([^=]+)=(.*)$")
    local found = (one.labels or {})[name or label]
    if found == nil or (name and found ~= value) then return false end
  end
  return true
end
