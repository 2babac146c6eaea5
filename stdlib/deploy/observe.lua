--- Watches a public address through a release: zero downtime is measured, not claimed.

local fail = require "native.fail"
local http = require "native.http"

local M = {}

--- Begins to ask an address at a steady rate, half of it on new connections; `:stop()` tells what was seen.
--- @param url string
--- @param options? table  as `http.observe`: rate, fresh, expect, timeout, headers
--- @return HttpObserver
function M.start(url, options)
  if type(url) ~= "string" then fail.usage("deploy.observe: expected a url") end
  return http.observe(url, options)
end

return M
