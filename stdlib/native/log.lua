--- Messages for whoever watches the run; they stand beside the run's own events, secrets masked.

local raw = require "native.log.raw"

local M = {}

--- @param message string
--- @param fields? table<string, any>  shown in the JSON events
function M.debug(message, fields) raw.write("debug", message, fields) end

--- @param message string
--- @param fields? table<string, any>
function M.info(message, fields) raw.write("info", message, fields) end

--- @param message string
--- @param fields? table<string, any>
function M.warn(message, fields) raw.write("warn", message, fields) end

--- @param message string
--- @param fields? table<string, any>
function M.error(message, fields) raw.write("error", message, fields) end

return M
