--- Commands that need no project: the version, what a vendor of secrets gives, a project to begin with, the keys.

local report = require "native.report"

--- By command: what it does with the command line's words. What each needs is loaded when it runs: programs ask for
--- the version.
--- @type table<string, fun(parsed: { arguments: string[], options: table<string, any> })>
local M = {}

M["version"] = function() report.text(require("kamal.cross_checks").KAMAL_VERSION .. "\n") end

M["secrets fetch"] = function(parsed)
  report.text(require("kamal.secrets").fetch(parsed, require("kamal.environment").new()) .. "\n")
end

M["secrets extract"] = function(parsed)
  report.text(require("kamal.secrets").extract(parsed.arguments[1], parsed.arguments[2]) .. "\n")
end

M["init"] = function() require("kamal.starting").init() end
M["docs"] = function(parsed) require("kamal.starting").docs(parsed) end

return M
