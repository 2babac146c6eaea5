--- Events for whoever watches: people read lines, programs read JSON (docs/events.md). Every text is cleaned of control
--- sequences and secrets are masked.

local raw = require "native.report.raw"
local await = require("native.task").await

local M = {}

--- Reports an event; never waits. Needs a `type`; `v`, `time` and `run` are added.
--- @param event table
function M.emit(event)
  raw.emit(event)
end

--- Puts out data that was asked for (a log, a list, a command's output), on standard output even with --quiet. Waits
--- while its reader is far behind.
--- @async
--- @param text string
--- @param host? string  who said it: stands before each line
function M.text(text, host)
  raw.emit { type = "print", text = text, host = host }
  if raw.full() then await(raw.drained()) end
end

return M
