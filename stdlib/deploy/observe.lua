--- Watches a public address through a release: zero downtime is measured, not claimed.

local fail = require "native.fail"
local http = require "native.http"
local report = require "native.report"

local M = {}

local running = {}

--- Ends an observer and tells what it saw, once.
local function stop(observer)
  local seen = observer._stop(observer)
  if not observer._told then
    observer._told = true
    report.emit { type = "observer.summary", url = observer._url, requests = seen.requests, failed = seen.failures,
      longest_gap_ms = math.floor(seen.longest_gap_ms + 0.5), first_failure = (seen.first_failures[1] or {}).reason }
  end
  return seen
end

--- Begins to ask an address at a steady rate, half of it on new connections; `:stop()` tells what was seen. One that a
--- recipe leaves running is stopped, and told of, at the end of the run: also of one that failed.
--- @param url string
--- @param options? table  as `http.observe`: rate, fresh, expect, timeout, headers
--- @return HttpObserver
function M.start(url, options)
  if type(url) ~= "string" then fail.usage("deploy.observe: expected a url") end
  local observer = http.observe(url, options)
  if type(observer) ~= "table" or not observer.stop then return observer end  -- a plan's
  observer._stop, observer._url, observer.stop = observer.stop, url:gsub("//[^/@]*@", "//"):gsub("%?.*", ""), stop
  running[#running + 1] = observer
  return observer
end

--- Ends those that a recipe left running; for deploy/main.lua.
--- @async
function M.finish()
  for _, observer in ipairs(running) do
    if not observer._told then pcall(stop, observer) end
  end
  running = {}
end

return M
