--- Asks for what may not be there: the value, or nil for an error of kind `docker.not_found`. Other errors are raised.

--- @async
--- @param fn fun(...): any
--- @return any?
return function(fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  if type(value) == "table" and value.kind == "docker.not_found" then return nil end
  error(value, 0)
end
